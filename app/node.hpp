#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/captures.hpp"
#include "app/config.hpp"
#include "app/lanes.hpp"
#include "app/tgen_app.hpp"
#include "control/command.hpp"
#include "control/event_loop.hpp"
#include "dataplane/mempool.hpp"
#include "dataplane/port.hpp"
#include "dataplane/runtime.hpp"
#include "shim_hv/dp/device.hpp"
#include "shim_hv/dp/ll_ethdev.hpp"

namespace sluice::app {

// A running role: everything that a configuration file asks for, made, connected and looked after
// by the control thread. The order of the members is the order in which they need each other.
class Node {
  public:
    static Result<std::unique_ptr<Node>> create(const Config& config, const ConfigScope& scope,
                                                const dp::Placement& placement,
                                                control::EventLoop& loop);
    ~Node();

    // Registers applications, starts captures, forwarding and the runs of the configuration.
    Result<> start();
    // Everything flushed and counted; errors are told.
    void shut_down();

    void add_commands(control::CommandTable& table);

    // sluice-capture's; nullptr in other roles.
    Lanes* lanes() noexcept { return lanes_.get(); }
    // After shut_down(): the first error of what was written.
    const Result<>& outcome() const noexcept { return outcome_; }

  private:
    struct VmpiPort {
        std::unique_ptr<shim_hv::LowLevelEthdev> low_level;
        shim_hv::VmpiStage* stage = nullptr;
        std::unique_ptr<shim_hv::Device> device;
        dp::Port* port = nullptr;
        Instant lost_since = Instant::never();
        bool replug_failed = false;  // told already
    };

    Node(const Config& config, const ConfigScope& scope, control::EventLoop& loop)
        : config_(config), scope_(scope), loop_(loop) {}
    Result<> build(const dp::Placement& placement);
    Result<> make_pools(const dp::Plan& plan);
    Result<> make_vmpi(dp::Runtime::Stages& stages);
    Result<> make_ethernet(dp::Runtime::Stages& stages);
    Result<> make_lanes(dp::Runtime::Stages& stages);
    Result<> make_merge(const CaptureSpec& first, dp::Runtime::Stages& stages);
    Result<capture::LaneConfig> lane_config(const CaptureSpec& spec, unsigned queue) const;
    Result<> start_ports();
    void watch();
    void on_punt();
    void poll_devices();
    void replug_lost();
    void arm_timer();
    dp::Port* port(const std::string& name) const;
    Result<std::vector<dp::Port*>> ports(const control::Args& args) const;

    void add_port_commands(control::CommandTable& table);
    void add_runtime_commands(control::CommandTable& table);
    void add_flow_commands(control::CommandTable& table);
    void add_capture_commands(control::CommandTable& table);
    void add_stage_commands(control::CommandTable& table);
    void add_edge_commands(control::CommandTable& table);
    void add_tgen_commands(control::CommandTable& table);
    Result<> change_captures(const std::string& port, std::optional<std::string> filter,
                             std::optional<std::uint32_t> snaplen);
    Result<> rebuild(dp::Graph graph);
    control::Value show_drops() const;
    control::Value show_lcores() const;
    control::Value show_stages() const;
    control::Value show_vmpi(const std::string& name) const;

    const Config config_;
    const ConfigScope scope_;
    control::EventLoop& loop_;
    dp::Placement placement_;
    Layout layout_;
    std::unique_ptr<dp::Mempool> pool_;
    std::unique_ptr<dp::Mempool> tgen_pool_;
    std::vector<std::unique_ptr<dp::Port>> ports_;
    std::map<std::string, VmpiPort> vmpi_;
    std::unique_ptr<Lanes> lanes_;
    Result<> outcome_;
    std::unique_ptr<dp::Runtime> runtime_;
    std::unique_ptr<TgenApp> tgen_;
    std::unique_ptr<Captures> captures_;
    control::TimerId timer_{};
    bool timer_armed_ = false;
    Instant timer_at_ = Instant::never();
    bool down_ = false;
};

}  // namespace sluice::app
