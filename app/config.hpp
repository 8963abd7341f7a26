#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "capture/lane.hpp"
#include "control/config.hpp"
#include "dataplane/graph.hpp"
#include "dataplane/port.hpp"
#include "shim_hv/core/shim_hv.hpp"

namespace sluice::app {

// The configuration file of a role, decoded. Sections that a role has no use for are unknown keys
// there.
struct VmpiConfig {
    shim_hv::Params params;
    std::optional<bool> mergeable;  // unset: as the device's arguments say
    std::uint32_t backlog = 512;
};

enum class PortKind : std::uint8_t { vmpi, ethernet };

struct PortConfig {
    dp::PortOptions options;
    PortKind kind = PortKind::ethernet;
    std::optional<LcoreId> lcore;
    VmpiConfig vmpi;
    bool hold = false;  // ethernet, transmit: keep what the ring does not take
};

struct TgenConfig {
    std::optional<LcoreId> lcore;
    std::uint32_t pool = 0;
    std::string where;
};

struct AppConfig {
    std::string name, dif, out_dir, where;
    std::uint64_t out_bytes_max = 0;
};

struct RunConfig {  // a traffic run that starts with the role
    std::string dif, source, destination, where;
    std::vector<std::string> words;
};

struct CaptureSpec {
    std::string port, direction, where;
    capture::LaneConfig lane;
    // sluice-capture:
    std::optional<LcoreId> io_lcore;
    bool null = false;   // receive only
    bool merge = false;  // with all others that merge into the same file
};

struct Config {
    std::string path;
    std::string socket;
    dp::Idle idle = dp::Idle::adaptive;
    std::map<LcoreId, dp::Idle> idle_of;
    std::uint32_t mbuf_data_size = 2048;
    std::uint32_t mbufs_extra = 0;
    std::vector<PortConfig> ports;
    TgenConfig tgen;
    std::vector<AppConfig> apps;
    std::vector<RunConfig> runs;
    std::vector<CaptureSpec> captures;
    std::vector<dp::NodeSpec> stages;
    std::vector<dp::EdgeSpec> edges;
};

struct ConfigScope {
    std::string role;
    bool vmpi = false;      // ports of kind vmpi, [tgen], [[app]], [[run]]
    bool stages = false;    // [[stage]], [[edge]]
    bool captures = false;  // [[capture]]
    shim_hv::Params defaults;
};

// All errors at once, one a line.
Result<Config> load_config(const std::string& path, const ConfigScope& scope);

// What runs where, from the configuration alone: pure.
struct Layout {
    dp::Graph graph;
    dp::KindTable kinds;
};
Result<Layout> layout_of(const Config& config, const ConfigScope& scope);

// What a capture of a port that does something else as well is unless it is said: smaller than
// sluice-capture's.
capture::LaneConfig tap_defaults();

// Lanes that cannot be together: two that write to one file.
Result<> check_captures(const Config& config);

// Names of the nodes that a port becomes.
std::string rx_node(const std::string& port);
std::string tx_node(const std::string& port);
std::string recorder_node(const std::string& port, unsigned queue);
std::string writer_node(const std::string& port, unsigned queue);
inline constexpr const char* kTgenNode = "tgen";

}  // namespace sluice::app
