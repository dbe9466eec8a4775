# Stands in for nixpkgs: of its library and its Python packages what the flake asks for.
let
  genAttrs = names: make: builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
  packages = genAttrs [
    "attrs"
    "coincurve"
    "cryptography"
    "dbus-fast"
    "prometheus-client"
    "pyroute2"
    "pyyaml"
    "setuptools"
    "textual"
    "twisted"
    "txtorcon"
    "zeroconf"
    "zope-interface"
  ] (name: name);
in
rec {
  lib = {
    inherit genAttrs;
    licenses.mit = "MIT";
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
    mkEnableOption = description: { inherit description; default = false; };
    mkIf = condition: value: if condition then value else { };
    optionalAttrs = condition: value: if condition then value else { };
  };
  pkgs = {
    system = "x86_64-linux";
    nftables = "nftables";
    iproute2 = "iproute2";
    python3Packages = packages // { buildPythonApplication = arguments: arguments; };
  };
  legacyPackages = genAttrs lib.platforms.linux (system: pkgs // { inherit system; });
}
