#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/config.hpp"
#include "capture/capture_writer.hpp"
#include "control/value.hpp"
#include "dataplane/runtime.hpp"

namespace sluice::app {

// Captures of ports: where their taps sit and what their files hold.
class Captures {
  public:
    explicit Captures(dp::Runtime& runtime) : runtime_(runtime) {}
    ~Captures();

    // A stage that a tap can be set on, and which directions pass there.
    struct Point {
        dp::Stage* stage = nullptr;
        bool rx = false, tx = false;
    };
    void add_port(const std::string& port, pcap::Linktype linktype, std::vector<Point> points);

    Result<> start(const CaptureSpec& spec);
    Result<> stop(const std::string& port);
    Result<> stop_all();
    control::Value show() const;
    std::vector<std::string> running() const;

  private:
    struct Port {
        pcap::Linktype linktype{};
        std::vector<Point> points;
        std::vector<std::unique_ptr<dp::PacketTap>> filters;  // of one direction only
        std::unique_ptr<capture::Capture> capture;
        std::unique_ptr<capture::CaptureStats> last;
    };
    void set_tap(dp::Stage* stage, dp::PacketTap* tap);
    Result<> stop(Port& port);

    dp::Runtime& runtime_;
    std::map<std::string, Port> ports_;
};

}  // namespace sluice::app
