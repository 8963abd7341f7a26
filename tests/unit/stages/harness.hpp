#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/lcore_loop.hpp"
#include "dataplane/mempool.hpp"
#include "stages/stage_table.hpp"

namespace sluice::stages {

// The pool of all tests; they give back all they take.
dp::Mempool& pool();
// Before EAL is taken down.
void free_pool();

// Takes packets and keeps them until they are looked at.
class Collector : public dp::Stage {
  public:
    ~Collector() override { clear(); }
    void process(dp::LoopCtx&, dp::Burst& burst) noexcept override {
        packets.insert(packets.end(), burst.begin(), burst.end());
    }
    unsigned room(unsigned) const noexcept override { return space; }
    void clear();

    std::vector<rte_mbuf*> packets;
    unsigned space = ~0u;
};

std::vector<std::byte> bytes_of(const rte_mbuf* m);

// Runs one stage by hand, at a time that the test sets: what an lcore does in an iteration, with
// a collector behind each of two outlets.
class Harness {
  public:
    explicit Harness(dp::Stage& stage);

    bool poll(Instant now);
    void process(std::vector<rte_mbuf*> packets, Instant now = Instant{0},
                 std::uint16_t inlet = 0);
    void mail(const dp::Mail& mail);
    dp::Wait wait();
    void timeout(Instant now);
    void stop();

    std::uint64_t own(unsigned index) const { return counters.own[index].get(); }
    std::uint64_t drops(DropReason r) const {
        return counters.drops[static_cast<std::size_t>(r)].get();
    }
    Instant deadline() const { return slot_.deadline; }

    dp::StageCounters counters;
    Collector out[2];

  private:
    void flush();

    dp::Qsbr qsbr_;
    dp::LcoreLoop loop_;
    dp::Slot slot_;
    dp::Slot next_[2];
    dp::StageCounters next_counters_[2];
    dp::Outlet outlets_[2];
    dp::LoopCtx ctx_;
};

// A file of its own that goes away with it.
class TempFile {
  public:
    TempFile();
    ~TempFile();
    TempFile(const TempFile&) = delete;
    TempFile& operator=(const TempFile&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

dp::NodeSpec node(std::string kind, dp::Params params = {}, std::string where = {});

}  // namespace sluice::stages
