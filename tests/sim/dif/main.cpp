// dif-sim: networks of IPC processes under a virtual clock, from files and from seeds.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "faults.hpp"
#include "world.hpp"

namespace {

using namespace sluice;
using namespace sluice::sim;

struct Outcome {
    std::optional<std::pair<std::string, std::string>> failure;
    std::uint64_t digest = 0;
    std::size_t planned = 0;
    World::Totals totals;
    std::string report;
};

Outcome run_one(const Scenario& scenario, bool prints) {
    World world(scenario, prints);
    Outcome out;
    out.failure = world.run();
    out.digest = world.digest();
    out.planned = world.planned();
    out.totals = world.totals;
    if (prints) out.report = world.report();
    return out;
}

// Leaves out of what was planned whatever the same checker does not need, halves first.
Scenario shrink(Scenario scenario) {
    const Outcome first = run_one(scenario, false);
    if (!first.failure) return scenario;
    std::vector<bool> keep(first.planned, true);
    const auto still_fails = [&](const std::vector<bool>& k) {
        Scenario s = scenario;
        s.keep = k;
        if (std::find(k.begin(), k.end(), true) == k.end()) s.keep.assign(k.size() + 1, false);
        const Outcome o = run_one(s, false);
        return o.failure && o.failure->first == first.failure->first;
    };
    for (std::size_t chunk = std::max<std::size_t>(keep.size() / 2, 1); chunk > 0; chunk /= 2)
        for (std::size_t at = 0; at < keep.size(); at += chunk) {
            std::vector<bool> fewer = keep;
            std::fill(fewer.begin() + static_cast<long>(at),
                      fewer.begin() + static_cast<long>(std::min(at + chunk, keep.size())), false);
            if (fewer != keep && still_fails(fewer)) keep = fewer;
        }
    scenario.keep = keep;
    return scenario;
}

void print(const Scenario& s, const Outcome& o) {
    fmt::print("{}\n", s.to_string());
    if (o.failure) fmt::print("  FAILED: {}: {}\n", o.failure->first, o.failure->second);
    fmt::print("  {} SDUs delivered, {} ends of flows allocated, {} refused, {} messages, {} "
               "events, converged {} s after the trouble, digest {:016x}\n",
               o.totals.delivered, o.totals.allocated, o.totals.refused, o.totals.messages,
               o.totals.steps, o.totals.converged_s, o.digest);
}

// What joins nodes is drawn on top of the rest; with `wire` there is nothing but the rest.
Scenario draw(std::uint64_t seed, const std::string& lower) {
    Scenario s = Scenario::draw(seed);
    if (lower != "wire") s.draw_media();
    if (!lower.empty()) s.lower = lower;
    return s;
}

int run_swarm(std::uint64_t from, std::uint64_t to, const std::string& lower, bool twice,
              bool shrinks) {
    std::uint64_t failures = 0, delivered = 0, digest = 0;
    for (std::uint64_t seed = from; seed <= to; ++seed) {
        const Scenario s = draw(seed, lower);
        const Outcome o = run_one(s, false);
        delivered += o.totals.delivered;
        digest = (digest ^ o.digest) * 0x100000001b3ull;
        if (twice && run_one(s, false).digest != o.digest) {
            fmt::print("seed {}: two runs differ\n", seed);
            ++failures;
        }
        if (!o.failure) continue;
        ++failures;
        print(s, o);
        if (shrinks) {
            const Scenario less = shrink(s);
            std::string kept;
            for (std::size_t i = 0; i < less.keep.size(); ++i)
                if (less.keep[i]) kept += fmt::format("{}{}", kept.empty() ? "" : ",", i);
            fmt::print("  shrunk: --seed {} --keep {}\n", seed, kept.empty() ? "none" : kept);
        }
        std::fflush(stdout);
    }
    fmt::print("{} seeds, {} failed, {} SDUs delivered, digest {:016x}\n", to - from + 1, failures,
               delivered, digest);
    return failures == 0 ? 0 : 1;
}

std::vector<bool> parse_keep(const std::string& text, std::size_t planned) {
    std::vector<bool> keep(planned + 1, false);
    if (text == "none") return keep;
    for (const std::string& item : CLI::detail::split(text, ','))
        if (const auto i = std::stoul(item); i < planned) keep[i] = true;
    return keep;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Networks of IPC processes in virtual time"};
    std::string path, seeds, lower, kept, fault;
    std::uint64_t seed = 1;
    bool prints = false, twice = false, shrinks = false;
    app.add_option("--scenario", path, "a scenario's file");
    app.add_option("--seed", seed, "one run: of the scenario, or drawn from the seed");
    app.add_option("--seeds", seeds, "a swarm: FROM..TO");
    app.add_option("--lower", lower, "what joins nodes: wire, shim-eth, shim-udp, shim-hv, mixed");
    app.add_option("--keep", kept, "of what was planned only these, as --shrink prints them");
    app.add_flag("--trace", prints, "print everything that happens");
    app.add_flag("--digest", twice, "run each twice and compare");
    app.add_flag("--shrink", shrinks, "find the smallest part of a run that fails");
    app.add_option("--fault", fault, "a fault that is switched on must be found; or all");
    CLI11_PARSE(app, argc, argv);
    if (auto known = Scenario::check_lower(lower.empty() ? "wire" : lower); !known) {
        fmt::print(stderr, "--lower: {}\n", known.error().message);
        return 2;
    }
    if (!fault.empty() && seeds.empty()) seeds = "1..800";
    if (!seeds.empty()) {
        const std::size_t dots = seeds.find("..");
        if (dots == std::string::npos) {
            fmt::print(stderr, "--seeds {}: expected FROM..TO\n", seeds);
            return 2;
        }
        const std::uint64_t from = std::stoull(seeds), to = std::stoull(seeds.substr(dots + 2));
        if (!fault.empty())
            return run_faults(fault, from, to, [](std::uint64_t s) {
                return run_one(Scenario::draw(s), false).failure;
            });
        return run_swarm(from, to, lower, twice, shrinks);
    }
    Scenario scenario = draw(seed, lower);
    if (!path.empty()) {
        auto loaded = Scenario::load(path);
        if (!loaded) {
            fmt::print(stderr, "{}\n", loaded.error().message);
            return 2;
        }
        scenario = std::move(*loaded);
        scenario.seed = seed;
    }
    if (!lower.empty()) scenario.lower = lower;
    if (!kept.empty()) scenario.keep = parse_keep(kept, run_one(scenario, false).planned);
    if (shrinks) scenario = shrink(scenario);
    const Outcome outcome = run_one(scenario, prints);
    print(scenario, outcome);
    fmt::print("{}", outcome.report);
    if (twice && run_one(scenario, false).digest != outcome.digest) {
        fmt::print("  FAILED: two runs differ\n");
        return 1;
    }
    return outcome.failure ? 1 : 0;
}
