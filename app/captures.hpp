#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/capture_rows.hpp"
#include "app/config.hpp"
#include "capture/lane_tap.hpp"
#include "capture/merge.hpp"
#include "control/value.hpp"
#include "dataplane/port.hpp"
#include "dataplane/runtime.hpp"

namespace sluice::app {

// Captures of what passes ports that do something else: taps on their stages, whose lanes a
// capture's own thread merges into files. Control thread.
class Captures {
  public:
    // `io_worker_cpus`: where nobody polls.
    Captures(dp::Runtime& runtime, std::vector<unsigned> io_worker_cpus)
        : runtime_(runtime), io_worker_cpus_(std::move(io_worker_cpus)) {}
    ~Captures();

    // A stage that a tap can be set on, by name since an operator may take it away, and which
    // directions pass there.
    struct Point {
        std::string stage;
        bool rx = false, tx = false;
    };
    void add_port(const dp::Port& port, pcap::Linktype linktype, std::vector<Point> points);

    // Returns when the file is there and nothing passes unseen any more.
    Result<> start(const CaptureSpec& spec);
    Result<> stop(const std::string& port);
    Result<> stop_all();
    // `port`: its name, or "all".
    Result<> rotate(const std::string& port);
    Result<> change(const std::string& port, std::optional<std::string> filter,
                    std::optional<std::uint32_t> snaplen);
    // Every 200 ms or so: the clock, and captures that have come to their limit.
    void look();

    control::Value show() const;   // a row a port: its present capture, or the last one
    control::Value drops() const;  // rows of "show drops"

  private:
    // One that runs. Taps go before the lanes they feed.
    struct Capture {
        std::unique_ptr<capture::Merge> merge;
        std::vector<std::pair<std::string, std::unique_ptr<capture::LaneTap>>> taps;  // by stage
        pcap::FileSet::Options names;
        Duration longest{};  // 0: for ever
        Instant begun{};
        dp::PortStats before;
    };
    // What is left of one.
    struct Past {
        capture::LaneStats stats;
        std::string state;
        PortLoss loss;
    };
    struct Port {
        const dp::Port* device = nullptr;
        pcap::Linktype linktype{};
        std::vector<Point> points;
        std::unique_ptr<Capture> capture;
        std::optional<Past> past;
    };

    Result<Port*> port_for(const CaptureSpec& spec, const pcap::FileSet::Options& names);
    Result<std::unique_ptr<Capture>> made(const CaptureSpec& spec, const Port& port) const;
    static Result<> wait_for_file(capture::Merge& merge);
    void set_tap(const std::string& stage, dp::PacketTap* tap);
    Result<> stop(Port& port, const char* state);
    static capture::LaneStats stats_of(const Port& port);
    static PortLoss loss_of(const Port& port);
    template <typename Do>
    Result<> for_running(const std::string& port, Do&& act);

    dp::Runtime& runtime_;
    const std::vector<unsigned> io_worker_cpus_;
    CaptureClock clock_;
    std::map<std::string, Port> ports_;
};

}  // namespace sluice::app
