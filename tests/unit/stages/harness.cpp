#include "harness.hpp"

#include <rte_mbuf.h>
#include <unistd.h>

#include <cstdlib>

#include "base/check.hpp"
#include "dataplane/loop_ctx.hpp"

namespace sluice::stages {

namespace {

std::unique_ptr<dp::Mempool> the_pool;

}  // namespace

dp::Mempool& pool() {
    if (!the_pool) {
        auto made = dp::Mempool::create({.name = "stages", .count = 2047, .cache = 0});
        SLUICE_CHECK(made);
        the_pool = std::move(*made);
    }
    return *the_pool;
}

void free_pool() { the_pool.reset(); }

void Collector::clear() {
    for (rte_mbuf* m : packets) rte_pktmbuf_free(m);
    packets.clear();
}

std::vector<std::byte> bytes_of(const rte_mbuf* m) {
    std::vector<std::byte> all;
    for (; m != nullptr; m = m->next) {
        const auto* const p = rte_pktmbuf_mtod(m, const std::byte*);
        all.insert(all.end(), p, p + m->data_len);
    }
    return all;
}

Harness::Harness(dp::Stage& stage) : loop_(LcoreId{0}, qsbr_, {}) {
    slot_.stage = &stage;
    slot_.counters = &counters;
    slot_.outlets = outlets_;
    slot_.outlet_count = 2;
    for (unsigned i = 0; i < 2; ++i) {
        next_[i].stage = &out[i];
        next_[i].counters = &next_counters_[i];
        outlets_[i].via = dp::Outlet::Via::direct;
        outlets_[i].next = &next_[i];
        outlets_[i].backpressure = dp::Backpressure::credit;
    }
    ctx_.loop = &loop_;
    ctx_.slot = &slot_;
}

void Harness::flush() {
    if (slot_.dirty) dp::flush_slot(ctx_, slot_);
    ctx_.slot = &slot_;
}

bool Harness::poll(Instant now) {
    ctx_.now = now;
    const bool busy = slot_.stage->poll(ctx_) == dp::Busy::busy;
    flush();
    return busy;
}

void Harness::process(std::vector<rte_mbuf*> packets, Instant now, std::uint16_t inlet) {
    ctx_.now = now;
    dp::Burst burst{packets.data(), static_cast<std::uint16_t>(packets.size()), inlet};
    slot_.stage->process(ctx_, burst);
    flush();
}

void Harness::mail(const dp::Mail& mail) {
    slot_.stage->on_mail(ctx_, mail);
    flush();
}

dp::Wait Harness::wait() { return slot_.stage->wait_arm(ctx_, -1); }

void Harness::timeout(Instant now) {
    ctx_.now = now;
    slot_.deadline = Instant::never();
    slot_.stage->on_timeout(ctx_);
    flush();
}

void Harness::stop() { slot_.stage->on_stop(ctx_); }

TempFile::TempFile() : path_("/tmp/unit_stages_XXXXXX") {
    const int fd = mkstemp(path_.data());
    SLUICE_CHECK(fd >= 0);
    close(fd);
}

TempFile::~TempFile() { unlink(path_.c_str()); }

dp::NodeSpec node(std::string kind, dp::Params params, std::string where) {
    dp::NodeSpec n;
    n.name.assign(1, 'n');
    n.kind = std::move(kind);
    n.params = std::move(params);
    n.where = std::move(where);
    return n;
}

}  // namespace sluice::stages
