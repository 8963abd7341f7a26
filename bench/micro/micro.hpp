// What the micro-benchmarks have in common: each is named "<group>/<what>", does some things at a
// time, and says what one of them took. bench/run dif runs them in turns with their calibrators and
// reads the counters.
#pragma once

#include <benchmark/benchmark.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::bench {

inline constexpr char kRandomLookup[] = "random hash look-up";
inline constexpr char kPlainLookup[] = "hash look-ups";

void register_codecs();
void register_efcp();
void register_protection();
void register_relay();
void register_routes();
void register_schedulers();

// The compiler may not leave out what makes this value. By its address: benchmark::DoNotOptimize
// takes it as an operand, which copies it in larger pieces than it was just stored in, and such a
// copy waits for the stores.
template <typename T>
void keep(const T& value) {
    asm volatile("" : : "r"(&value) : "memory");
}

// TSC cycles of the iterations: their median, which those that were interrupted do not change.
class Cycles {
  public:
    template <typename Work>
    void time(Work&& work) {
        const std::uint64_t begin = __rdtsc();
        work();
        spent_[n_++ % kKept] = __rdtsc() - begin;
    }
    std::uint64_t median() {
        const auto end = spent_.begin() + static_cast<std::ptrdiff_t>(std::min(n_, kKept));
        const auto middle = spent_.begin() + (end - spent_.begin()) / 2;
        std::nth_element(spent_.begin(), middle, end);
        return *middle;
    }

  private:
    static constexpr std::size_t kKept = 2048;  // the last ones

    std::array<std::uint64_t, kKept> spent_{};
    std::size_t n_ = 0;
};

// Counters for one of `items` of each iteration: CPU seconds, and cycles.
inline void count_seconds(benchmark::State& state, std::size_t items) {
    using benchmark::Counter;
    state.counters["seconds"] =
        Counter(static_cast<double>(items),
                static_cast<Counter::Flags>(Counter::kIsIterationInvariantRate |
                                            Counter::kInvert));
}
inline void count(benchmark::State& state, std::size_t items, Cycles& cycles) {
    count_seconds(state, items);
    state.counters["cycles"] = static_cast<double>(cycles.median()) / static_cast<double>(items);
}

// What a core can do again and again. An iteration should take well over the 20 ns that reading the
// TSC takes.
template <typename Work>
void measure(benchmark::State& state, std::size_t items, Work&& work) {
    Cycles cycles;
    for ([[maybe_unused]] const auto& iteration : state) cycles.time(work);
    count(state, items, cycles);
}

// Of what takes milliseconds hardly an iteration is not interrupted, and the TSC says nothing.
template <typename Work>
void measure_long(benchmark::State& state, Work&& work) {
    for ([[maybe_unused]] const auto& iteration : state) work();
    count_seconds(state, 1);
}

}  // namespace sluice::bench
