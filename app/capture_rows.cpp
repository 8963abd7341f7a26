#include "app/capture_rows.hpp"

#include "base/log.hpp"
#include "dataplane/clock.hpp"

namespace sluice::app {

using capture::LaneStats;
using capture::WallClock;
using control::Value;

namespace {

Instant now() { return dp::TscClock::instance().now(); }

double per_packet(std::uint64_t cycles, std::uint64_t packets) {
    if (packets == 0) return 0;
    const double exact = static_cast<double>(cycles) / static_cast<double>(packets);
    return static_cast<double>(static_cast<std::int64_t>(exact * 10 + 0.5)) / 10;
}

}  // namespace

CaptureClock::CaptureClock() : wall_(WallClock::read_clocks()), adjusted_(now()) {}

bool CaptureClock::due() noexcept {
    const Instant at = now();
    if (at - adjusted_ < WallClock::kInterval) return false;
    adjusted_ = at;
    return true;
}

void CaptureClock::adjust() {
    const auto verdict = wall_.adjust(WallClock::read_clocks());
    if (verdict == WallClock::Verdict::stepped)
        log::warn("capture", "the system's clock was set forward; so are the time stamps");
    const bool ahead = verdict == WallClock::Verdict::ahead;
    if (ahead && !ahead_told_)
        log::warn("capture", "the system's clock was set back; the time stamps run ahead of it "
                  "and approach it slowly");
    ahead_told_ = ahead;
}

Value capture_row(const LaneStats& s, const std::string& state, const PortLoss& loss) {
    Value v;
    v["port"] = s.port;
    v["queue"] = s.queue;
    v["state"] = state;
    v["file"] = s.file;
    v["files"] = s.files;
    v["received"] = s.received;
    v["written"] = s.written;
    v["pending"] = s.pending;
    v["filtered"] = s.filtered;
    v["sampled_out"] = s.sampled_out;
    v["cut_off"] = s.cut_off;
    v["drops"] = {{"nic_missed", loss.nic_missed},
                  {"no_mbuf", loss.no_mbuf},
                  {"no_chunk", s.no_chunk},
                  {"disk_error", s.disk_error}};
    v["bytes"] = s.bytes;
    v["file_bytes"] = s.file_bytes;
    v["buffer_percent"] = s.buffer_percent;
    v["cycles_per_packet"] = per_packet(s.busy_cycles, s.received);
    v["writer_cycles_per_packet"] = per_packet(s.writer_cycles, s.written);
    v["stamp_error_ns"] = s.stamp_error_max_ns;
    v["stamp_error_now_ns"] = s.stamp_error_ns;
    v["restamped"] = s.restamped;
    v["io"] = s.io;
    v["filter"] = s.filter;
    v["snaplen"] = s.snaplen;
    v["error"] = s.error;
    return v;
}

void add_drop_row(Value& rows, const std::string& stage, const char* reason,
                  std::uint64_t packets, const char* meaning) {
    if (packets != 0)
        rows.push_back({{"stage", stage}, {"reason", reason}, {"packets", packets},
                        {"meaning", meaning}});
}

void add_capture_drops(Value& rows, const std::string& stage, const LaneStats& s) {
    add_drop_row(rows, stage, "no_chunk", s.no_chunk,
                 "capture: the disk was slower, no block was free");
    add_drop_row(rows, stage, "disk_error", s.disk_error,
                 "capture: the file could not be written");
}

Result<> check_sums(const LaneStats& s) {
    const std::uint64_t sum = s.written + s.disk_error + s.no_chunk + s.filtered + s.sampled_out +
                              s.cut_off;
    if (sum == s.received) return {};
    return fail(EPROTO, "capture of {} queue {}: {} packets received, but {} accounted for; this "
                "is a bug", s.port, s.queue, s.received, sum);
}

tl::unexpected<Error> not_captured(const std::string& port) {
    if (port == "all") return fail(ENOENT, "no port is being captured");
    return fail(ENOENT, "{} is not being captured", port);
}

}  // namespace sluice::app
