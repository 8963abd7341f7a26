// Runs random scripts through the fuzz targets of the Ethernet and UDP shims, from a fixed seed:
// what libFuzzer does, for builds that do not have it.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <vector>

#include "base/rng.hpp"
#include "shim_targets.hpp"

namespace {

using namespace sluice;

// How many of the scripts got data through a flow.
std::uint64_t run(bool (*target)(std::span<const std::byte>), std::uint64_t count,
                  std::uint64_t seed) {
    Rng rng(seed);
    std::uint64_t received = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::vector<std::byte> script(rng.below(2000));
        // Small numbers are flows and sockets that exist.
        const std::uint64_t bound = rng.chance(0.5) ? 256 : 16;
        for (std::byte& byte : script)
            byte = static_cast<std::byte>(rng.chance(0.3) ? rng.below(256) : rng.below(bound));
        received += target(script) ? 1 : 0;
    }
    return received;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Runs random scripts through the cores of the Ethernet and UDP shims"};
    std::uint64_t count = 20000;
    std::uint64_t seed = 1;
    app.add_option("--count", count, "scripts for each shim");
    app.add_option("--seed", seed, "another sequence of scripts");
    CLI11_PARSE(app, argc, argv);
    const std::uint64_t eth = run(fuzz::shim_eth, count, seed);
    const std::uint64_t udp = run(fuzz::shim_udp, count, seed);
    fmt::print("of {} scripts each, {} received over Ethernet and {} over UDP\n", count, eth, udp);
    // A script that never gets a flow tries little.
    return eth > count / 100 && udp > count / 100 ? EXIT_SUCCESS : EXIT_FAILURE;
}
