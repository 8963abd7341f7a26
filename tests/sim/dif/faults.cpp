#include "faults.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "normal_dif/core/faults.hpp"

namespace sluice::sim {

#ifdef SLUICE_FAULT_INJECTION

namespace {

using faults::Fault;

struct Hunt {
    std::uint64_t seed = 0;  // 0: not found
    std::uint64_t runs = 0;
    std::string checker, text;
};

// The first seed that fails with the fault and not without it.
Hunt hunt(Fault fault, std::uint64_t from, std::uint64_t to,
          const std::function<Finding(std::uint64_t)>& run_seed, std::FILE* progress) {
    Hunt out;
    for (std::uint64_t seed = from; seed <= to; ++seed) {
        ++out.runs;
        if (progress != nullptr) {
            fmt::print(progress, "{} {}\n", seed, out.runs);
            std::fflush(progress);
        }
        faults::active_fault = fault;
        const Finding found = run_seed(seed);
        faults::active_fault = Fault::none;
        if (!found || run_seed(seed)) continue;
        out.seed = seed;
        std::tie(out.checker, out.text) = *found;
        return out;
    }
    return out;
}

// In a process of its own: some faults end it.
Hunt hunt_apart(Fault fault, std::uint64_t from, std::uint64_t to,
                const std::function<Finding(std::uint64_t)>& run_seed) {
    int ends[2];
    if (::pipe(ends) != 0) return {};
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        std::FILE* const to_parent = ::fdopen(ends[1], "w");
        const Hunt h = hunt(fault, from, to, run_seed, to_parent);
        fmt::print(to_parent, "= {} {} {}\t{}\n", h.seed, h.runs, h.checker, h.text);
        std::fflush(to_parent);
        ::_exit(0);
    }
    ::close(ends[1]);
    std::FILE* const from_child = ::fdopen(ends[0], "r");
    Hunt out;
    bool is_done = false;
    char line[1024];
    while (std::fgets(line, sizeof line, from_child) != nullptr) {
        std::string text(line);
        is_done = text[0] == '=';
        char* at = line + (is_done ? 1 : 0);
        out.seed = std::strtoull(at, &at, 10);
        out.runs = std::strtoull(at, &at, 10);
        if (!is_done) continue;
        text = text.substr(static_cast<std::size_t>(at - line) + 1);
        const std::size_t tab = text.find('\t');
        out.checker = text.substr(0, tab);
        out.text = text.substr(tab + 1, text.size() - tab - 2);
    }
    std::fclose(from_child);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!is_done) {
        out.checker = "crash";
        out.text = fmt::format("the process ended with signal {}",
                               WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    return out;
}

}  // namespace

int run_faults(const std::string& which, std::uint64_t from, std::uint64_t to,
               const std::function<Finding(std::uint64_t)>& run_seed) {
    bool is_known = false;
    bool all_found = true;
    fmt::print("{:<24} {:>5} {:>5}  {}\n", "fault", "seed", "runs", "found by");
    for (std::size_t i = 1; i < faults::kFaultCount; ++i) {
        const auto fault = static_cast<Fault>(i);
        if (which != "all" && which != to_string(fault)) continue;
        is_known = true;
        const Hunt h = hunt_apart(fault, from, to, run_seed);
        if (h.seed == 0)
            fmt::print("{:<24} {:>5} {:>5}  nothing found it\n", to_string(fault), "-", h.runs);
        else
            fmt::print("{:<24} {:>5} {:>5}  {}: {}\n", to_string(fault), h.seed, h.runs, h.checker,
                       h.text);
        std::fflush(stdout);
        all_found = all_found && h.seed != 0;
    }
    if (!is_known) {
        fmt::print(stderr, "no fault is called \"{}\"; expected \"all\" or one of the table that "
                           "\"all\" prints\n",
                   which);
        return 2;
    }
    return all_found ? 0 : 1;
}

#else

int run_faults(const std::string&, std::uint64_t, std::uint64_t,
               const std::function<Finding(std::uint64_t)>&) {
    fmt::print(stderr, "this build has the product's objects, which have no faults to switch on; "
                       "use dif-sim-faulty\n");
    return 2;
}

#endif

}  // namespace sluice::sim
