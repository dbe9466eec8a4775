# nix run ./packaging/nix -- --config fips.yaml, or as an input of a system of yours. Not run on Nix by us.
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
            pythonImportsCheck = [ "meshnode" "meshnode.service" "meshnode.cli.main" ];
            meta = {
              description = "A full node of a FIPS mesh";
              license = nixpkgs.lib.licenses.mit;
              mainProgram = "meshnode";
              platforms = nixpkgs.lib.platforms.linux;
            };
          };
        });

      nixosModules.default = { config, lib, pkgs, ... }:
        let
          options = config.services.meshnode;
        in
        {
          options.services.meshnode = {
            enable = lib.mkEnableOption "a node of a FIPS mesh";
            configFile = lib.mkOption {
              type = lib.types.path;
              default = "/etc/meshnode/fips.yaml";
              description = "Its configuration; the key is kept beside it, so it must not lie in the store.";
            };
          };
          config = lib.mkIf options.enable {
            users.groups.fips = { };
            environment.systemPackages = [ self.packages.${pkgs.system}.default ];
            systemd.services.meshnode = {
              description = "Node of a FIPS mesh";
              wants = [ "network-online.target" ];
              after = [ "network-online.target" ];
              wantedBy = [ "multi-user.target" ];
              path = [ pkgs.nftables ];
              serviceConfig = {
                Type = "notify";
                ExecStart = "${self.packages.${pkgs.system}.default}/bin/meshnode --config ${options.configFile}";
                Restart = "on-failure";
                RestartSec = 5;
                RestartPreventExitStatus = 78;
                RuntimeDirectory = "fips meshnode";
                RuntimeDirectoryMode = "0750";
                RuntimeDirectoryPreserve = "restart";
                CapabilityBoundingSet = "CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_CHOWN CAP_DAC_READ_SEARCH CAP_SYS_PTRACE";
                NoNewPrivileges = true;
                ProtectSystem = "strict";
                ReadWritePaths = [ "-/etc/meshnode" ];
                ProtectHome = true;
                PrivateTmp = true;
              };
            };
          };
        };
    };
}
