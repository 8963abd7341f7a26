#define CATCH_CONFIG_RUNNER
#include <rte_eal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "harness.hpp"

// EAL once for all tests, without hugepages or devices. All lcores share one CPU, so that the
// tests run anywhere.
int main(int argc, char** argv) {
    std::vector<std::string> words = {
        "unit_stages", "--no-huge", "-m", "64", "--no-pci", "--no-telemetry", "--file-prefix",
        "unit_stages_" + std::to_string(getpid()), "--lcores", "0@0,1@0,2@0", "--log-level", "4"};
    std::vector<char*> args;
    for (std::string& w : words) args.push_back(w.data());
    if (rte_eal_init(static_cast<int>(args.size()), args.data()) < 0) return 2;
    const int failed = Catch::Session().run(argc, argv);
    sluice::stages::free_pool();
    rte_eal_cleanup();
    return failed;
}
