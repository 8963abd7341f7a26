#include "app/bootstrap.hpp"

int main(int argc, char** argv) {
    sluice::app::ConfigScope scope;
    scope.role = "vswitch";
    scope.vmpi = true;
    scope.captures = true;
    scope.defaults.role = sluice::rina::vmpi::Role::backend;
    return sluice::app::run_role(argc, argv, scope,
                                 "Host vswitch: VMPI over vhost-user ports.");
}
