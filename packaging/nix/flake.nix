# nix run ./packaging/nix -- --config fips.yaml, or as an input of a system of yours. Evaluated by our tests, with a
# stand-in for nixpkgs; never run on NixOS by us.
{
  description = "A full node of a FIPS mesh";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = nixpkgs.lib.genAttrs systems;
    in
    {
      packages = each (system:
        let
          python = nixpkgs.legacyPackages.${system}.python3Packages;
        in
        {
          default = python.buildPythonApplication {
            pname = "meshnode";
            version = "0.1.0";
            pyproject = true;
            src = ../..;
            build-system = [ python.setuptools ];
            dependencies = with python; [
              attrs
              coincurve
              cryptography
              pyroute2
              pyyaml
              twisted
              zope-interface
              # Carriers, discovery and tools that are optional elsewhere.
              dbus-fast
              prometheus-client
              textual
              txtorcon
              zeroconf
            ];
            # The services are those of every other package, at their places here.
            postInstall = ''
              mkdir -p $out/lib/systemd/system
              for unit in packaging/systemd/*.service; do
                sed -e "s#/opt/meshnode/bin/#$out/bin/#" -e 's#/etc/fips#/etc/meshnode#' -e '/^# Where docs/d' \
                  "$unit" > "$out/lib/systemd/system/''${unit##*/}"
              done
            '';
            pythonImportsCheck = [ "meshnode" "meshnode.service" "meshnode.cli.main" ];
            meta = {
              description = "A full node of a FIPS mesh";
              license = nixpkgs.lib.licenses.mit;
              mainProgram = "meshnode";
              platforms = nixpkgs.lib.platforms.linux;
            };
          };
        });

      # services.meshnode.enable: the node, with the configuration /etc/meshnode/fips.yaml and its key beside it.
      nixosModules.default = { config, lib, pkgs, ... }:
        let
          options = config.services.meshnode;
          package = self.packages.${pkgs.system}.default;
          # What the units look for in PATH.
          service = {
            wantedBy = [ "multi-user.target" ];
            path = [ pkgs.nftables pkgs.iproute2 ];
          };
        in
        {
          options.services.meshnode = {
            enable = lib.mkEnableOption "a node of a FIPS mesh";
            gateway = lib.mkEnableOption "the gateway that leads a local network into it";
          };
          config = lib.mkIf options.enable {
            users.groups.fips = { };
            environment.systemPackages = [ package ];
            systemd.packages = [ package ];
            systemd.tmpfiles.rules = [ "d /etc/meshnode 0755 root root -" ];
            systemd.services = { meshnode = service; } // lib.optionalAttrs options.gateway { meshnode-gateway = service; };
          };
        };
    };
}
