#include "dataplane/lcore_loop.hpp"

#include <rte_errno.h>
#include <rte_ring_elem.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <ctime>
#include <limits>

#include "base/check.hpp"
#include "dataplane/loop_ctx.hpp"

namespace sluice::dp {
namespace {

constexpr unsigned kMailCapacity = 1024;
constexpr unsigned kMailsAnIteration = 8;
constexpr std::uint64_t kSampleMask = 31;  // cycles per stage are taken in 1 of 32 iterations
constexpr Duration kSleepLongest = Duration::milliseconds(100);
constexpr Duration kNapShortest = Duration::microseconds(20);
constexpr Duration kNapLongest = Duration::microseconds(500);

void nap(Duration length) noexcept {
    const timespec span{0, static_cast<long>(length.ns)};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &span, nullptr);
}

}  // namespace

void Waker::kick() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof(one));
}

LcoreLoop::LcoreLoop(LcoreId id, Qsbr& qsbr, IdleSettings idle)
    : id_(id), qsbr_(qsbr), idle_(idle) {
    ctx_.lcore = id;
    ctx_.loop = this;
}

LcoreLoop::~LcoreLoop() {
    if (mails_ != nullptr) rte_ring_free(mails_);
    if (epoll_fd_ >= 0) close(epoll_fd_);
    if (waker_.fd >= 0) close(waker_.fd);
    delete published_.load(std::memory_order_relaxed);
}

Result<> LcoreLoop::init() {
    const std::string name = fmt::format("mail{}", id_.value);
    mails_ = rte_ring_create_elem(name.c_str(), sizeof(Mail), kMailCapacity, SOCKET_ID_ANY,
                                  RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (mails_ == nullptr)
        return fail(rte_errno, "cannot create the mailbox of lcore {}: {}", id_.value,
                    rte_strerror(rte_errno));
    epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    waker_.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (epoll_fd_ < 0 || waker_.fd < 0)
        return fail(errno, "cannot create the wake-up descriptors of lcore {}: {}", id_.value,
                    std::strerror(errno));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = waker_.fd;
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, waker_.fd, &event) != 0)
        return fail(errno, "cannot watch the wake-up descriptor of lcore {}: {}", id_.value,
                    std::strerror(errno));
    list_ = new RunList();
    published_.store(list_, std::memory_order_relaxed);
    return {};
}

void LcoreLoop::publish(std::unique_ptr<const RunList> list) {
    const RunList* old = published_.exchange(list.release(), std::memory_order_acq_rel);
    const std::uint64_t change = asked_.fetch_add(1, std::memory_order_release) + 1;
    replaced_.emplace_back(change, old);
    waker_.wake_if_sleeping();
    reclaim();
}

void LcoreLoop::reclaim() {
    const std::uint64_t adopted = adopted_.load(std::memory_order_acquire);
    std::erase_if(replaced_, [&](const auto& old) { return old.first <= adopted; });
}

void LcoreLoop::forward(Forwarding state) noexcept {
    wanted_.store(state, std::memory_order_relaxed);
    asked_.fetch_add(1, std::memory_order_release);
    waker_.wake_if_sleeping();
}

bool LcoreLoop::settled() const noexcept {
    return done_.load(std::memory_order_acquire) == asked_.load(std::memory_order_relaxed);
}

bool LcoreLoop::post(const Mail& mail) noexcept {
    if (rte_ring_sp_enqueue_elem(mails_, const_cast<Mail*>(&mail), sizeof(mail)) != 0) return false;
    waker_.wake_if_sleeping();
    return true;
}

void LcoreLoop::quit() noexcept {
    quit_.store(true, std::memory_order_release);
    waker_.wake_if_sleeping();
}

void LcoreLoop::account_in(unsigned packets) noexcept {
    const unsigned bucket =
        std::min(static_cast<unsigned>(std::bit_width(packets)), kBurstHistogram - 1);
    counters_.burst_histogram[bucket].add(1);
}

void LcoreLoop::run() noexcept {
    // Sleeps of an idle lcore are meant: the default slack would add 50 us to each.
    prctl(PR_SET_TIMERSLACK, 1);
    qsbr_.attach(id_.value);
    const TscClock& clock = TscClock::instance();
    std::uint64_t iterations = 0;
    stalls_.begin();
    ctx_.tsc = rte_rdtsc();
    while (!quit_.load(std::memory_order_relaxed)) {
        ctx_.now = clock.instant(ctx_.tsc);
        const std::uint64_t asked = asked_.load(std::memory_order_acquire);
        if (asked != seen_) [[unlikely]] {
            change_state(published_.load(std::memory_order_acquire),
                         wanted_.load(std::memory_order_relaxed));
            seen_ = asked;
            adopted_.store(asked, std::memory_order_release);
            if (state_ != Forwarding::draining) done_.store(asked, std::memory_order_release);
        }
        ctx_.sampling = (++iterations & kSampleMask) == 0;
        bool busy = false;
        if (held_) [[unlikely]]
            busy = retry_held();
        if (state_ != Forwarding::stopped)
            for (const Entry& entry : list_->entries) busy |= run_entry(const_cast<Entry&>(entry));
        busy |= read_mails();
        if (ctx_.now >= earliest_) [[unlikely]]
            run_timers();
        if (done_.load(std::memory_order_relaxed) != seen_ && !busy && drained(*list_))
            done_.store(seen_, std::memory_order_release);
        qsbr_.quiescent(id_.value);
        const std::uint64_t end = rte_rdtsc();
        counters_.iterations.set(iterations);
        if (busy) {
            counters_.busy_iterations.add(1);
            counters_.busy_cycles.add(end - ctx_.tsc);
            quiet_since_ = Instant::never();
        } else {
            counters_.idle_cycles.add(end - ctx_.tsc);
        }
        stalls_.iteration(ctx_.tsc, end);
        ctx_.tsc = end;
        if (!busy && idle_.policy == Idle::adaptive) idle_step();
    }
    change_state(list_, Forwarding::stopped);
    qsbr_.detach(id_.value);
    ended_.store(true, std::memory_order_release);
}

// Takes effect between iterations.
void LcoreLoop::change_state(const RunList* list, Forwarding state) noexcept {
    SLUICE_CHECK(list == list_ || (state_ == Forwarding::stopped && state == Forwarding::stopped));
    if (list != list_)
        // What was sent before the switch is for the stages as they were.
        while (read_mails()) continue;
    // Stages are told that forwarding stopped while their slots are still wired.
    if (state_ != Forwarding::stopped && state == Forwarding::stopped)
        for (const auto& slot : list_->slots) {
            ctx_.slot = slot.get();
            slot->stage->on_stop(ctx_);
        }
    if (state == Forwarding::stopped)
        discard(list == list_ ? DropReason::stopped : DropReason::edge_removed);
    list_ = list;
    state_ = state;
    earliest_ = Instant::never();
    if (state == Forwarding::running)
        for (const auto& slot : list->slots) earliest_ = earlier(earliest_, slot->deadline);
    quiet_since_ = Instant::never();
}

// Drops what waits in the rings to this lcore and in its outlets.
void LcoreLoop::discard(DropReason reason) noexcept {
    for (const Entry& entry : list_->entries) {
        if (entry.ring == nullptr) continue;
        void* packet = nullptr;
        ctx_.slot = entry.slot;
        while (rte_ring_sc_dequeue(entry.ring, &packet) == 0)
            ctx_.drop(reason, static_cast<rte_mbuf*>(packet));
    }
    for (const auto& slot : list_->slots) {
        ctx_.slot = slot.get();
        slot->dirty = false;
        for (unsigned i = 0; i < slot->outlet_count; ++i) {
            Outlet& o = slot->outlets[i];
            ctx_.drop(reason, o.packets, o.pending);
            o.pending = 0;
        }
    }
    held_ = false;
}

bool LcoreLoop::blocked(const Entry& entry) const noexcept {
    for (const auto& [slot, index] : entry.holds) {
        const Outlet& o = slot->outlets[index];
        if (o.pending != 0) return true;
        // Before a credit edge the source asks for itself.
        if (o.via == Outlet::Via::direct && o.backpressure == Backpressure::hold &&
            o.next->stage->room(o.inlet) == 0)
            return true;
    }
    return false;
}

// True if anything got through.
bool LcoreLoop::retry_held() noexcept {
    held_ = false;
    bool moved = false;
    for (const auto& slot : list_->slots) {
        if (!slot->dirty) continue;
        const auto pending = [&] {
            unsigned sum = 0;
            for (unsigned i = 0; i < slot->outlet_count; ++i) sum += slot->outlets[i].pending;
            return sum;
        };
        const unsigned before = pending();
        ctx_.slot = slot.get();
        flush_slot(ctx_, *slot);
        moved |= pending() != before;
    }
    return moved;
}

bool LcoreLoop::run_entry(Entry& entry) noexcept {
    if (!entry.holds.empty() && blocked(entry)) return false;
    Slot& slot = *entry.slot;
    if (entry.ring != nullptr) {
        void* packets[kBurstMax];
        unsigned most = kBurstMax;
        if (entry.lossless) most = std::min(most, slot.stage->room(entry.inlet));
        const unsigned n = rte_ring_sc_dequeue_burst(entry.ring, packets, most, nullptr);
        if (n == 0) return false;
        account_in(n);
        ctx_.slot = nullptr;
        run_process(ctx_, slot, entry.inlet, reinterpret_cast<rte_mbuf**>(packets), n);
        return true;
    }
    ctx_.slot = &slot;
    if (ctx_.sampling) ctx_.mark = rte_rdtsc();
    const Busy busy = state_ == Forwarding::running ? slot.stage->poll(ctx_)
                                                    : slot.stage->drain(ctx_);
    if (slot.dirty) flush_slot(ctx_, slot);
    if (ctx_.sampling && busy == Busy::busy) charge(ctx_, slot);
    return busy == Busy::busy;
}

bool LcoreLoop::read_mails() noexcept {
    Mail mail;
    unsigned read = 0;
    while (read < kMailsAnIteration &&
           rte_ring_sc_dequeue_elem(mails_, &mail, sizeof(mail)) == 0) {
        ++read;
        if (mail.to == nullptr) continue;
        for (const auto& slot : list_->slots) {
            if (slot->stage != mail.to) continue;
            ctx_.slot = slot.get();
            if (ctx_.sampling) ctx_.mark = rte_rdtsc();
            mail.to->on_mail(ctx_, mail);
            if (slot->dirty) flush_slot(ctx_, *slot);
            break;
        }
    }
    if (read != 0) counters_.mails.add(read);
    return read != 0;
}

void LcoreLoop::run_timers() noexcept {
    earliest_ = Instant::never();
    for (const auto& slot : list_->slots) {
        if (slot->deadline <= ctx_.now && state_ == Forwarding::running) {
            slot->deadline = Instant::never();
            ctx_.slot = slot.get();
            if (ctx_.sampling) ctx_.mark = rte_rdtsc();
            slot->stage->on_timeout(ctx_);
            if (slot->dirty) flush_slot(ctx_, *slot);
        }
        earliest_ = earlier(earliest_, slot->deadline);
    }
    // The deadlines stay in their slots and count again when forwarding starts.
    if (state_ != Forwarding::running) earliest_ = Instant::never();
}

bool LcoreLoop::drained(const RunList& list) const noexcept {
    for (const Entry& entry : list.entries)
        if (entry.ring != nullptr && rte_ring_empty(entry.ring) == 0) return false;
    for (const auto& slot : list.slots)
        for (unsigned i = 0; i < slot->outlet_count; ++i)
            if (slot->outlets[i].pending != 0) return false;
    return true;
}

bool LcoreLoop::nothing_queued(const RunList& list) const noexcept {
    if (rte_ring_empty(mails_) == 0) return false;
    if (asked_.load(std::memory_order_acquire) != seen_) return false;
    if (quit_.load(std::memory_order_relaxed)) return false;
    return state_ == Forwarding::stopped || drained(list);
}

// Spin, then nap, then sleep. Napping rather than sched_yield(): on recent kernels each yield
// pushes the caller back by a whole time slice, and a loop of them starves for seconds as soon as
// anybody else wants the CPU.
void LcoreLoop::idle_step() noexcept {
    const Instant now = TscClock::instance().instant(ctx_.tsc);
    if (quiet_since_.is_never()) {
        quiet_since_ = now;
        nap_ = kNapShortest;
        return;
    }
    const Duration quiet = now - quiet_since_;
    if (quiet < idle_.spin) {
        rte_pause();
        return;
    }
    const std::uint64_t start = ctx_.tsc;
    if (quiet < idle_.spin + idle_.nap)
        nap(kNapShortest);
    else
        sleep_until_woken();
    stalls_.begin();
    ctx_.tsc = rte_rdtsc();
    counters_.sleep_cycles.add(ctx_.tsc - start);
}

void LcoreLoop::sleep_until_woken() noexcept {
    Duration longest = kSleepLongest;
    if (!earliest_.is_never()) longest = std::min(longest, earliest_ - ctx_.now);
    // Too short for epoll's granularity of a millisecond.
    if (longest < Duration::milliseconds(1)) {
        nap(std::max(longest, Duration::microseconds(1)));
        return;
    }
    waker_.sleeping.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    bool sleep = nothing_queued(*list_);
    bool poll_only = false;
    std::size_t armed = 0;
    if (state_ == Forwarding::running) {
        for (; sleep && armed < list_->entries.size(); ++armed) {
            const Entry& entry = list_->entries[armed];
            if (entry.ring != nullptr) continue;
            ctx_.slot = entry.slot;
            const Wait wait = entry.slot->stage->wait_arm(ctx_, epoll_fd_);
            if (wait == Wait::work) sleep = false;
            if (wait == Wait::poll_only) poll_only = true;
        }
    }
    if (sleep) {
        counters_.sleeps.add(1);
        qsbr_.offline(id_.value);
        if (poll_only) {
            nap(nap_);
            nap_ = std::min(nap_ * 2, kNapLongest);
        } else {
            // PMDs add their descriptors edge-triggered, so nobody needs to read them.
            epoll_event events[8];
            epoll_wait(epoll_fd_, events, 8, static_cast<int>(longest.ns / 1000000));
        }
        qsbr_.online(id_.value);
    }
    waker_.sleeping.store(false, std::memory_order_relaxed);
    std::uint64_t kicks = 0;
    [[maybe_unused]] const ssize_t got = ::read(waker_.fd, &kicks, sizeof(kicks));
    for (std::size_t i = 0; i < armed; ++i) {
        const Entry& entry = list_->entries[i];
        if (entry.ring != nullptr) continue;
        ctx_.slot = entry.slot;
        entry.slot->stage->wait_disarm(ctx_);
    }
    // A wake-up means work soon: look for a while before sleeping again.
    if (!poll_only) quiet_since_ = Instant::never();
}

// The defaults of Stage.
void Stage::process(LoopCtx& ctx, Burst& burst) noexcept {
    ctx.drop(DropReason::discarded, burst.pkts, burst.count);
}
Busy Stage::poll(LoopCtx&) noexcept { return Busy::idle; }
Busy Stage::drain(LoopCtx&) noexcept { return Busy::idle; }
void Stage::on_mail(LoopCtx&, const Mail&) noexcept {}
void Stage::on_timeout(LoopCtx&) noexcept {}
unsigned Stage::room(unsigned) const noexcept { return std::numeric_limits<unsigned>::max(); }
Wait Stage::wait_arm(LoopCtx&, int) noexcept { return Wait::poll_only; }
void Stage::wait_disarm(LoopCtx&) noexcept {}
void Stage::on_stop(LoopCtx&) noexcept {}

}  // namespace sluice::dp
