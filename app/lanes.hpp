#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/capture_rows.hpp"
#include "capture/lane.hpp"
#include "capture/lane_stages.hpp"
#include "capture/merge.hpp"
#include "control/value.hpp"
#include "dataplane/port.hpp"

namespace sluice::app {

// The lanes of sluice-capture: one for each queue of each port that is captured. Control thread.
class Lanes {
  public:
    // With EAL up. `port` may be looked at as long as the lanes are.
    Result<capture::Lane*> add(const capture::LaneConfig& config, const dp::Port& port);
    // Lanes that go into one file; in the order of `lanes`.
    Result<capture::Merge*> add_merge(const capture::LaneConfig& file,
                                      std::vector<capture::LaneConfig> lanes,
                                      std::vector<const dp::Port*> ports);
    // A port that is only received from (--null).
    void add_null(const dp::Port& port);
    // Writers that are not stages of the plan get their threads.
    Result<> start_threads(bool inline_writers);

    // Every 200 ms or so: the clocks, and what the ports have missed.
    void look();
    bool empty() const noexcept { return lanes_.empty() && nulls_.empty(); }
    // All have come to the limit they were given, or one cannot go on.
    bool over() const;
    void rotate();
    // `port`: its name, or "all".
    Result<> rotate(const std::string& port);
    Result<> change(const std::string& port, std::optional<std::string> filter,
                    std::optional<std::uint32_t> snaplen);
    // The forwarding has stopped: writes and closes everything, and checks the sums.
    Result<> close();

    control::Value show() const;   // a row a lane
    control::Value drops() const;  // rows of "show drops"
    // What --json prints: {"seconds", "captures"}.
    control::Value report(double seconds) const;
    // For a terminal: one line about now, against what the last call saw.
    std::string progress(double seconds_since_last);

  private:
    struct Entry {
        std::unique_ptr<capture::Lane> lane;    // either
        std::unique_ptr<capture::Merge> merge;  // or
        std::vector<const dp::Port*> ports;     // each once

        capture::WriterWork& work() const;
        capture::LaneStats stats() const;
        bool over() const;
        void rotate() const;
    };
    template <typename Do>
    Result<> for_lanes(const std::string& port, Do&& act);
    std::vector<const dp::Port*> all_ports() const;
    control::Value row(const Entry& entry) const;

    const capture::PortClock* clock_of(const dp::Port& port);

    CaptureClock clock_;
    std::map<std::uint16_t, std::optional<capture::PortClock>> port_clocks_;
    std::vector<Entry> lanes_;
    std::vector<const dp::Port*> nulls_;
    bool closed_ = false;
    std::uint64_t packets_seen_ = 0, bytes_seen_ = 0, file_bytes_seen_ = 0;
};

}  // namespace sluice::app
