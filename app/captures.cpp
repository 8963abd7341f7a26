#include "app/captures.hpp"

#include <unistd.h>

#include "dataplane/port_stages.hpp"

namespace sluice::app {
namespace {

// Lets one direction of a stage that has both through to a tap.
class OneDirection : public dp::PacketTap {
  public:
    OneDirection(dp::PacketTap& tap, dp::Direction direction)
        : tap_(tap), direction_(direction) {}
    void tap(dp::LoopCtx& ctx, rte_mbuf* const* packets, unsigned count,
             dp::Direction direction) noexcept override {
        if (direction == direction_) tap_.tap(ctx, packets, count, direction);
    }

  private:
    dp::PacketTap& tap_;
    const dp::Direction direction_;
};

}  // namespace

Captures::~Captures() { static_cast<void>(stop_all()); }

void Captures::add_port(const std::string& port, pcap::Linktype linktype,
                        std::vector<Point> points) {
    ports_[port].linktype = linktype;
    ports_[port].points = std::move(points);
}

void Captures::set_tap(dp::Stage* stage, dp::PacketTap* tap) {
    dp::Mail mail;
    mail.to = stage;
    mail.type = dp::kMailSetTap;
    mail.pointer = tap;
    while (!runtime_.post(mail)) usleep(100);
}

Result<> Captures::start(const CaptureSpec& spec) {
    const auto found = ports_.find(spec.port);
    if (found == ports_.end()) {
        std::string known;
        for (const auto& [name, port] : ports_) known += (known.empty() ? "" : ", ") + name;
        return fail(ENOENT, "'{}' is no port here, expected one of {}", spec.port, known);
    }
    Port& port = found->second;
    if (port.capture)
        return fail(EBUSY, "{} is being captured to {} already; stop that first", spec.port,
                    port.capture->stats().file);
    capture::CaptureConfig config;
    config.file = spec.file;
    config.group_readable = spec.group_readable;
    config.linktype = port.linktype;
    config.snaplen = spec.snaplen;
    SLUICE_TRY(auto capture, capture::Capture::start(config));
    std::vector<std::pair<dp::Stage*, dp::PacketTap*>> taps;
    for (const Point& point : port.points) {
        const bool rx = point.rx && spec.direction != "tx";
        const bool tx = point.tx && spec.direction != "rx";
        if (!rx && !tx) continue;
        SLUICE_TRY(dp::PacketTap* const tap, capture->add_tap());
        if (rx == point.rx && tx == point.tx) {
            taps.emplace_back(point.stage, tap);
        } else {
            port.filters.push_back(std::make_unique<OneDirection>(
                *tap, rx ? dp::Direction::rx : dp::Direction::tx));
            taps.emplace_back(point.stage, port.filters.back().get());
        }
    }
    port.capture = std::move(capture);
    for (const auto& [stage, tap] : taps) set_tap(stage, tap);
    // From here on nothing passes unseen.
    runtime_.settle_mails();
    return {};
}

Result<> Captures::stop(Port& port) {
    for (const Point& point : port.points) set_tap(point.stage, nullptr);
    // Once the mails have been read, and the iteration they were read in is over.
    runtime_.settle_mails();
    const Result<> outcome = port.capture->stop();
    port.last = std::make_unique<capture::CaptureStats>(port.capture->stats());
    port.capture.reset();
    port.filters.clear();
    return outcome;
}

Result<> Captures::stop(const std::string& name) {
    const auto found = ports_.find(name);
    if (found == ports_.end() || !found->second.capture)
        return fail(ENOENT, "{} is not being captured", name);
    return stop(found->second);
}

Result<> Captures::stop_all() {
    Result<> outcome;
    for (auto& [name, port] : ports_)
        if (port.capture)
            if (auto stopped = stop(port); !stopped) outcome = stopped;
    return outcome;
}

control::Value Captures::show() const {
    control::Value rows = control::Value::array();
    for (const auto& [name, port] : ports_) {
        if (!port.capture && !port.last) continue;
        const capture::CaptureStats s = port.capture ? port.capture->stats() : *port.last;
        control::Value v;
        v["port"] = name;
        v["state"] = port.capture ? "running" : "stopped";
        v["file"] = s.file;
        v["received"] = s.received;
        v["captured"] = s.captured;
        v["bytes"] = s.bytes;
        v["pending"] = s.pending;
        v["dropped_no_buffer"] = s.dropped_no_buffer;
        v["dropped_write_error"] = s.dropped_write_error;
        v["file_bytes"] = s.file_bytes;
        v["error"] = s.error;
        rows.push_back(v);
    }
    return rows;
}

std::vector<std::string> Captures::running() const {
    std::vector<std::string> names;
    for (const auto& [name, port] : ports_)
        if (port.capture) names.push_back(name);
    return names;
}

}  // namespace sluice::app
