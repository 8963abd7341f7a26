#include "capture/capture_writer.hpp"

#include <rte_lcore.h>
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "base/log.hpp"
#include "dataplane/clock.hpp"
#include "pcap_writer/sink_posix.hpp"

namespace sluice::capture {
namespace {

// Threads that are made in its scope take no signals: those are the main thread's, and a broken
// pipe is an error of write() like others.
class NoSignals {
  public:
    NoSignals() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~NoSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    NoSignals(const NoSignals&) = delete;
    NoSignals& operator=(const NoSignals&) = delete;

  private:
    sigset_t before_;
};

}  // namespace

Capture::Capture(const CaptureConfig& config, std::unique_ptr<pcap::Sink> sink)
    : config_(config),
      sink_(std::move(sink)),
      clock_(WallClock::read_clocks()),
      drain_(*sink_, config_),
      clock_checked_(dp::TscClock::instance().now()) {}

Result<std::unique_ptr<Capture>> Capture::start(const CaptureConfig& config) {
    // Before the file is emptied.
    SLUICE_TRY(const CaptureConfig c, checked(config));
    SLUICE_TRY(std::unique_ptr<pcap::Sink> sink,
               pcap::PosixSink::open(c.file, c.group_readable));
    return start(c, std::move(sink));
}

Result<std::unique_ptr<Capture>> Capture::start(const CaptureConfig& config,
                                                std::unique_ptr<pcap::Sink> sink) {
    SLUICE_TRY(const CaptureConfig c, checked(config));
    std::unique_ptr<Capture> capture(new Capture(c, std::move(sink)));
    SLUICE_TRY_VOID(capture->launch());
    return capture;
}

Result<> Capture::launch() {
    SLUICE_TRY_VOID(doorbell_.init());
    SLUICE_TRY_VOID(drain_.write_file_header());
    const NoSignals guard;
    const auto body = [](void* self) -> void* {
        static_cast<Capture*>(self)->run();
        return nullptr;
    };
    const int error = rte_ctrl_thread_create(&thread_, "sluice-capture", nullptr, body, this);
    if (error != 0)
        return fail(-error, "capture: the writer's thread did not start: {}",
                    std::strerror(-error));
    running_ = true;
    return {};
}

Capture::~Capture() { static_cast<void>(stop()); }

Result<CaptureTap*> Capture::add_tap() {
    if (!running_) return fail(EINVAL, "capture to \"{}\": has been stopped", sink_->name());
    SLUICE_TRY(std::unique_ptr<CaptureTap> tap, CaptureTap::create(config_, clock_, doorbell_));
    CaptureTap* const made = tap.get();
    const std::lock_guard lock(mutex_);
    sources_.push_back(std::make_unique<Source>(std::move(tap)));
    return made;
}

void Capture::remove_tap(CaptureTap* tap) {
    const std::lock_guard lock(mutex_);
    for (const auto& s : sources_)
        if (s->tap.get() == tap) s->retired.store(true, std::memory_order_release);
    doorbell_.ring();
}

void Capture::flush() {
    if (!running_) return;
    const std::uint64_t mine = flush_asked_.fetch_add(1, std::memory_order_acq_rel) + 1;
    doorbell_.ring();
    std::unique_lock lock(flush_mutex_);
    flushed_.wait(lock, [&] { return flush_done_ >= mine; });
}

Result<> Capture::stop() {
    if (!running_) return outcome_;
    stop_asked_.store(true, std::memory_order_release);
    doorbell_.ring();
    ::pthread_join(thread_, nullptr);
    running_ = false;
    if (auto closed = sink_->close(); !closed) drain_.report(closed.error());
    if (std::string e = drain_.error(); !e.empty())
        outcome_ = tl::unexpected<Error>(Error{EIO, std::move(e)});
    return outcome_;
}

CaptureStats Capture::stats() const {
    CaptureStats s;
    // From the file back to the taps, so that a packet that moves meanwhile shows as pending.
    const DrainCounters& d = drain_.counters();
    s.captured = d.captured.get();
    s.bytes = d.bytes.get();
    s.dropped_write_error = d.write_errors.get();
    s.restamped = d.restamped.get();
    s.file_bytes = d.file_bytes.get();
    {
        const std::lock_guard lock(mutex_);
        s.received = received_before_;
        s.dropped_no_buffer = no_buffer_before_;
        for (const auto& source : sources_) {
            s.dropped_no_buffer += source->tap->counters().no_buffer.get();
            s.received += source->tap->counters().received.get();
        }
    }
    const std::uint64_t known = s.captured + s.dropped_no_buffer + s.dropped_write_error;
    s.pending = s.received > known ? s.received - known : 0;
    s.file = sink_->name();
    s.error = drain_.error();
    s.running = running_;
    return s;
}

// Sources are only taken out by the writer itself, so the pointers stay good.
std::vector<Source*> Capture::sources() {
    const std::lock_guard lock(mutex_);
    std::vector<Source*> all;
    all.reserve(sources_.size());
    for (const auto& s : sources_) all.push_back(s.get());
    return all;
}

void Capture::reap() {
    const std::lock_guard lock(mutex_);
    std::erase_if(sources_, [this](const auto& s) {
        if (!Drain::finished(*s)) return false;
        received_before_ += s->tap->counters().received.get();
        no_buffer_before_ += s->tap->counters().no_buffer.get();
        return true;
    });
}

void Capture::adjust_clock() {
    const Instant now = dp::TscClock::instance().now();
    if (now - clock_checked_ < WallClock::kInterval) return;
    clock_checked_ = now;
    const WallClock::Verdict verdict = clock_.adjust(WallClock::read_clocks());
    if (verdict == WallClock::Verdict::stepped)
        log::warn("capture", "the system's clock was set forward; so are the time stamps");
    if (verdict == WallClock::Verdict::ahead && !ahead_told_)
        log::warn("capture", "the system's clock was set back; the time stamps run ahead of it "
                  "and approach it slowly");
    ahead_told_ = verdict == WallClock::Verdict::ahead;
}

void Capture::answer_flush(std::uint64_t asked) {
    {
        const std::lock_guard lock(flush_mutex_);
        if (flush_done_ == asked) return;
        flush_done_ = asked;
    }
    flushed_.notify_all();
}

void Capture::run() noexcept {
    std::uint64_t flushed = 0;
    for (;;) {
        doorbell_.look();
        const bool stopping = stop_asked_.load(std::memory_order_acquire);
        const std::uint64_t flush = flush_asked_.load(std::memory_order_acquire);
        adjust_clock();
        const std::int64_t wall_now = clock_.wall_ns(dp::TscClock::instance().now());
        const std::vector<Source*> all = sources();
        const bool everything = stopping || flush != flushed;
        const bool left = drain_.round(all, wall_now,
                                       everything ? Drain::Take::all : Drain::Take::ordered);
        reap();
        flushed = flush;
        answer_flush(flush);
        if (stopping) return;
        doorbell_.wait(left ? std::min(config_.merge_window, config_.flush_interval)
                            : config_.flush_interval);
    }
}

}  // namespace sluice::capture
