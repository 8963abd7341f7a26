#include "app/bootstrap.hpp"

int main(int argc, char** argv) {
    sluice::app::ConfigScope scope;
    scope.role = "guest";
    scope.vmpi = true;
    scope.captures = true;
    scope.defaults.role = sluice::rina::vmpi::Role::frontend;
    return sluice::app::run_role(argc, argv, scope,
                                 "Guest node: VMPI over virtio-user or the virtio PCI driver.");
}
