#define CATCH_CONFIG_RUNNER
#include <rte_eal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <string>

// EAL with next to nothing: no hugepages, no devices, little memory.
int main(int argc, char** argv) {
    const std::string prefix = "sluice-test-capture-" + std::to_string(::getpid());
    std::string args[] = {"test_capture", "--no-huge", "--no-pci", "--no-telemetry", "--no-shconf",
                          "-m", "64", "-l", "0", "--log-level=*:error", "--file-prefix=" + prefix};
    std::vector<char*> pointers;
    for (std::string& a : args) pointers.push_back(a.data());
    if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0) {
        std::fprintf(stderr, "EAL does not start\n");
        return 1;
    }
    const std::string directory = rte_eal_get_runtime_dir();
    const int result = Catch::Session().run(argc, argv);
    rte_eal_cleanup();
    std::filesystem::remove_all(directory);
    return result;
}
