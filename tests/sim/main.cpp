// sluice-sim: runs of the VMPI protocol core under a virtual clock, drawn from seeds.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

#include "options.hpp"
#include "trace.hpp"
#include "world.hpp"

namespace {

using namespace sluice;
using namespace sluice::sim;

struct Outcome {
    std::optional<Failure> failure;
    std::uint64_t digest = 0;
    std::uint64_t delivered = 0;
};

Outcome run_seed(std::uint64_t seed, bool prints) {
    const Options options = Options::draw(seed);
    Trace trace(prints);
    if (prints) fmt::print("{}\n", options.to_string());
    World world(options, trace);
    Outcome outcome;
    outcome.failure = world.run();
    outcome.digest = trace.digest();
    outcome.delivered = world.sdus_delivered();
    return outcome;
}

void print_failure(std::uint64_t seed, const Failure& failure) {
    fmt::print("FAILED seed {}: {}: {}\n  {}\n", seed, failure.checker, failure.text,
               Options::draw(seed).to_string());
}

int run_swarm(std::uint64_t from, std::uint64_t to, bool twice) {
    std::uint64_t delivered = 0;
    std::uint64_t digest = 0;
    for (std::uint64_t seed = from; seed <= to; ++seed) {
        const Outcome outcome = run_seed(seed, false);
        if (outcome.failure) {
            print_failure(seed, *outcome.failure);
            return EXIT_FAILURE;
        }
        if (twice && run_seed(seed, false).digest != outcome.digest) {
            fmt::print("FAILED seed {}: two runs have different digests\n", seed);
            return EXIT_FAILURE;
        }
        delivered += outcome.delivered;
        digest = (digest ^ outcome.digest) * 0x100000001b3ull;
    }
    fmt::print("seeds {}..{} are clean: {} SDUs delivered, digest {:016x}\n", from, to, delivered,
               digest);
    return EXIT_SUCCESS;
}

#ifdef SLUICE_FAULT_INJECTION
// Each fault must be found by some checker within the seeds.
int run_faults(const std::string& which, std::uint64_t from, std::uint64_t to) {
    bool is_known = false;
    bool all_found = true;
    fmt::print("{:<34} {:>6}  {}\n", "fault", "seed", "found by");
    for (std::size_t i = 1; i < shim_hv::kFaultCount; ++i) {
        const auto fault = static_cast<shim_hv::Fault>(i);
        if (which != "all" && which != to_string(fault)) continue;
        is_known = true;
        shim_hv::active_fault = fault;
        bool found = false;
        for (std::uint64_t seed = from; seed <= to && !found; ++seed) {
            const Outcome outcome = run_seed(seed, false);
            if (!outcome.failure) continue;
            found = true;
            fmt::print("{:<34} {:>6}  {}: {}\n", to_string(fault), seed, outcome.failure->checker,
                       outcome.failure->text);
        }
        if (!found) fmt::print("{:<34} {:>6}  nothing found it\n", to_string(fault), "-");
        all_found = all_found && found;
    }
    shim_hv::active_fault = shim_hv::Fault::none;
    if (!is_known) {
        fmt::print(stderr, "no fault is called \"{}\"; expected \"all\" or one of the table that "
                           "\"all\" prints\n",
                   which);
        return EXIT_FAILURE;
    }
    return all_found ? EXIT_SUCCESS : EXIT_FAILURE;
}
#else
int run_faults(const std::string&, std::uint64_t, std::uint64_t) {
    fmt::print(stderr, "this build has the product's objects, which have no faults to switch on; "
                       "use sluice-sim\n");
    return EXIT_FAILURE;
}
#endif

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Deterministic simulation of the VMPI protocol core"};
    std::uint64_t seed = 1;
    std::string range = "1..1000";
    std::string fault;
    bool trace = false;
    bool digest = false;
    auto* seed_option = app.add_option("--seed", seed, "run this seed");
    app.add_flag("--trace", trace, "print what happens (with --seed)");
    app.add_option("--seeds", range, "run these seeds, A..B");
    app.add_option("--fault", fault, "switch a fault on: it must be found (or \"all\", in turn)");
    app.add_flag("--digest", digest, "run each seed twice and compare");
    CLI11_PARSE(app, argc, argv);

    const std::size_t dots = range.find("..");
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    if (dots == std::string::npos ||
        (from = std::strtoull(range.c_str(), nullptr, 10)) == 0 ||
        (to = std::strtoull(range.c_str() + dots + 2, nullptr, 10)) < from) {
        fmt::print(stderr, "--seeds is \"{}\", expected two numbers from 1, as in 1..1000\n",
                   range);
        return EXIT_FAILURE;
    }
    if (!fault.empty() && seed_option->count() == 0) return run_faults(fault, from, to);
    if (!fault.empty()) return run_faults(fault, seed, seed);
    if (seed_option->count() == 0) return run_swarm(from, to, digest);

    const Outcome outcome = run_seed(seed, trace);
    if (outcome.failure) print_failure(seed, *outcome.failure);
    fmt::print("seed {} digest {:016x}, {} SDUs delivered\n", seed, outcome.digest,
               outcome.delivered);
    if (digest && run_seed(seed, false).digest != outcome.digest) {
        fmt::print("FAILED seed {}: two runs have different digests\n", seed);
        return EXIT_FAILURE;
    }
    return outcome.failure ? EXIT_FAILURE : EXIT_SUCCESS;
}
