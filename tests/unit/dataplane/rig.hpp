#pragma once

#include <rte_mbuf.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "dataplane/runtime.hpp"
#include "graphs.hpp"

// Stages to test with, and a runtime around them.
namespace sluice::dp::test {

// Gives up only long after anything could still be right.
template <typename Condition>
bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        sched_yield();
    }
    return true;
}

inline std::uint32_t& number_of(rte_mbuf* m) { return *rte_pktmbuf_mtod(m, std::uint32_t*); }

// Makes `total` packets numbered from 0.
class Numbers : public Stage {
  public:
    struct Options {
        std::uint32_t total = 0;
        unsigned burst = kRxBurst;
        bool asks = false;  // LoopCtx::credit
    };
    Numbers(rte_mempool* pool, Options options) : pool_(pool), options_(options) {}

    Busy poll(LoopCtx& ctx) noexcept override {
        rte_mbuf* packets[512];
        unsigned n = std::min({options_.burst, options_.total - next_, 512u});
        if (options_.asks) n = std::min(n, ctx.credit(0));
        if (n == 0 || rte_pktmbuf_alloc_bulk(pool_, packets, n) != 0) return Busy::idle;
        for (unsigned i = 0; i < n; ++i) {
            rte_pktmbuf_append(packets[i], 60);
            number_of(packets[i]) = next_++;
        }
        ctx.count_in(n);
        ctx.emit(0, packets, n);
        return Busy::busy;
    }
    void on_mail(LoopCtx&, const Mail& mail) noexcept override { options_.total += mail.arg; }

  private:
    rte_mempool* pool_;
    Options options_;
    std::uint32_t next_ = 0;
};

// Drops every seventh; passes the others on one by one.
class Sieve : public Stage {
  public:
    void process(LoopCtx& ctx, Burst& burst) noexcept override {
        for (rte_mbuf* m : burst) {
            if (number_of(m) % 7 == 6) {
                ctx.count(0, 1);
                ctx.drop(DropReason::discarded, m);
            } else {
                ctx.emit(0, m);
            }
        }
    }
};

// Remembers what came, in order. May be shut: then it stays inside process() with what it has.
class Digest : public Stage {
  public:
    explicit Digest(bool open = true) : open_(open) {}

    void process(LoopCtx&, Burst& burst) noexcept override {
        while (!open_.load(std::memory_order_acquire)) sched_yield();
        for (rte_mbuf* m : burst) {
            const std::uint32_t n = number_of(m);
            hash_ = (hash_ ^ n) * 0x100000001b3ull;
            if (seen_ != 0 && n <= last_) in_order_ = false;
            last_ = n;
            ++seen_;
            rte_pktmbuf_free(m);
        }
        shown_.store(seen_, std::memory_order_release);
    }
    // any thread
    void open() { open_.store(true, std::memory_order_release); }
    std::uint64_t shown() const { return shown_.load(std::memory_order_acquire); }
    // while stopped
    std::uint64_t hash() const { return hash_; }
    bool in_order() const { return in_order_; }

  private:
    std::atomic<bool> open_;
    std::atomic<std::uint64_t> shown_{0};
    std::uint64_t hash_ = 0xcbf29ce484222325ull;
    std::uint64_t seen_ = 0;
    std::uint32_t last_ = 0;
    bool in_order_ = true;
};

inline KindTable rig_kinds() {
    KindTable kinds = basic_kinds();
    const auto add = [&](KindInfo k) { kinds[k.name] = k; };
    add(KindInfo::source_of("numbers"));
    KindInfo sieve = KindInfo::filter_of("sieve");
    sieve.counters = {{"sieved", "packets", "every seventh"}};
    add(sieve);
    add(KindInfo::sink_of("digest"));
    return kinds;
}

struct Rig {
    std::unique_ptr<Mempool> pool;
    std::unique_ptr<Runtime> runtime;
    Placement placement = workers({1, 2, 3});
    KindTable kinds = rig_kinds();
    std::vector<Digest*> digests;  // of the tests here, which never remove one before the end

    explicit Rig(std::uint32_t mbufs = 8191, IdleSettings idle = {}) {
        static int number = 0;
        Mempool::Options o;
        o.name = fmt::format("pool{}", number++);
        o.count = mbufs;
        o.cache = 32;
        o.data_size = 256;
        auto made = Mempool::create(o);
        if (!made) FAIL(made.error().message);
        pool = std::move(*made);
        auto started = Runtime::create(placement, idle);
        if (!started) FAIL(started.error().message);
        runtime = std::move(*started);
    }
    ~Rig() {
        // A failed test must not leave an lcore inside a stage.
        for (Digest* d : digests) d->open();
        runtime.reset();
    }

    // Takes over raw pointers, so that tests can keep them to look at.
    void load(const Graph& graph, std::vector<std::pair<std::string, Stage*>> fresh) {
        Runtime::Stages stages;
        for (auto& [name, stage] : fresh) {
            stages[name].reset(stage);
            if (auto* digest = dynamic_cast<Digest*>(stage)) digests.push_back(digest);
        }
        auto planned = plan(graph, kinds, placement);
        if (!planned) FAIL(planned.error().message);
        auto loaded = runtime->load(std::move(*planned), kinds, std::move(stages));
        if (!loaded) FAIL(loaded.error().message);
    }
    StageStats stats(const std::string& name) const {
        for (StageStats& s : runtime->stage_stats())
            if (s.name == name) return s;
        FAIL("no stage " << name);
        return {};
    }
    std::uint64_t drops(const std::string& name, DropReason reason) const {
        return stats(name).drops[static_cast<std::size_t>(reason)];
    }
    std::uint64_t all_drops() const {
        std::uint64_t sum = 0;
        for (const StageStats& s : runtime->stage_stats())
            for (std::uint64_t n : s.drops) sum += n;
        return sum;
    }
    LcoreStats lcore(unsigned id) const {
        for (const LcoreStats& s : runtime->lcore_stats())
            if (s.id.value == id) return s;
        FAIL("no lcore " << id);
        return {};
    }
    bool post(Stage* to, std::uint32_t arg, std::uint32_t type = 0) {
        Mail mail;
        mail.to = to;
        mail.type = type;
        mail.arg = arg;
        return runtime->post(mail);
    }
};

}  // namespace sluice::dp::test
