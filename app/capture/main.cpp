#include "app/bootstrap.hpp"

int main(int argc, char** argv) {
    sluice::app::ConfigScope scope;
    scope.role = "capture";
    scope.captures = true;
    return sluice::app::run_role(argc, argv, scope,
                                 "Writes what DPDK ports receive to pcap files.");
}
