// The micro-benchmarks of the normal DIF's cores, each beside its calibrators: copies of 64 bytes,
// look-ups in a hash table as large as ours. To have both in the same minutes:
//
//   cores --benchmark_repetitions=5 --benchmark_enable_random_interleaving=true
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "micro.hpp"

namespace {

// Prints what was asked for, and remembers whether a benchmark did not do what it says.
class CheckingReporter : public benchmark::BenchmarkReporter {
  public:
    bool ReportContext(const Context& context) override { return shown_->ReportContext(context); }
    void ReportRuns(const std::vector<Run>& runs) override {
        for (const Run& run : runs) {
            if (!run.error_occurred) continue;
            fmt::print(stderr, "{}: {}\n", run.benchmark_name(), run.error_message);
            any_failed_ = true;
        }
        shown_->ReportRuns(runs);
    }
    void Finalize() override { shown_->Finalize(); }
    bool any_failed() const { return any_failed_; }

  private:
    std::unique_ptr<benchmark::BenchmarkReporter> shown_{
        benchmark::CreateDefaultDisplayReporter()};
    bool any_failed_ = false;
};

}  // namespace

int main(int argc, char** argv) {
    using namespace sluice::bench;
    register_efcp();
    register_codecs();
    register_relay();
    register_schedulers();
    register_protection();
    register_routes();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    CheckingReporter reporter;
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::Shutdown();
    return reporter.any_failed() ? 1 : 0;
}
