#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "base/rng.hpp"
#include "rina/names.hpp"
#include "rina/vmpi.hpp"
#include "shim_hv/core/actions.hpp"
#include "shim_hv/core/demux.hpp"

namespace sluice::shim_hv {

struct Timers {
    Duration hello_first = Duration::milliseconds(50);
    Duration hello_max = Duration::seconds(1);
    Duration keepalive = Duration::seconds(1);
    Duration dead_after = Duration::seconds(10);
    Duration retransmit_first = Duration::milliseconds(100);
    Duration retransmit_max = Duration::seconds(1);
    Duration allocate_timeout = Duration::seconds(5);
    Duration accept_timeout = Duration::seconds(5);
    Duration quarantine = Duration::seconds(1);
};

struct Params {
    rina::vmpi::Profile profile = rina::vmpi::Profile::sluice;
    rina::vmpi::Role role = rina::vmpi::Role::alike;
    std::uint32_t max_sdu_rx = 9000;
    std::uint32_t max_sdu_tx = 9000;
    std::uint32_t min_frame_tx = rina::vmpi::kShortFrameBytes;
    std::uint32_t max_channels = 255;  // irati: 63
    std::uint32_t credit_unit = 2048;  // a power of two
    std::uint64_t window = 256;        // credit units a flow; raised if two longest SDUs need more
    std::uint64_t features = 0;
    std::uint32_t max_pending = 16;  // requests that wait for an application's answer
    std::uint32_t max_apps = 256;    // names registered on the device
    std::uint64_t seed = 1;          // must differ from start to start and from end to end
    Timers timers{};
};

// One sentence about what is wrong with them, or nothing.
Result<> check(const Params& params);

enum class DeviceState : std::uint8_t {
    link_down,
    greeting,      // HELLOs are exchanged
    up,            // flows are possible
    incompatible,  // the peer is confirmed, but no version is common to both
};
std::string_view to_string(DeviceState state) noexcept;

enum class FlowState : std::uint8_t {
    requested,  // we wait for the peer's answer
    offered,    // the peer waits for our application's answer
    allocated,
    closing,  // no user any more; the peer's acknowledgement is missing
};
std::string_view to_string(FlowState state) noexcept;

struct FlowInfo {
    FlowHandle flow{};
    FlowState state = FlowState::requested;
    std::uint32_t channel = 0;
    std::uint8_t generation = 0;
    std::uint32_t transaction = 0;
    bool initiator = false;
    std::uint32_t cookie = 0;
    rina::AppName source;
    rina::AppName destination;
    Instant since{};
};

// Indexed by Type (profile irati: by IratiCommand + 1).
struct ControlCounters {
    std::array<std::uint64_t, rina::vmpi::kTypeCount> sent{};
    std::array<std::uint64_t, rina::vmpi::kTypeCount> retransmitted{};
    std::array<std::uint64_t, rina::vmpi::kTypeCount> received{};
    std::array<std::uint64_t, rina::vmpi::kParseErrorCount> parse_errors{};
    std::array<std::uint64_t, kVmpiDropCount> drops{};
    std::array<std::uint64_t, rina::kReasonCount> refused_to_peer{};
    std::uint64_t resets = 0;
    std::uint64_t collisions = 0;
};

struct DeviceInfo {
    DeviceState state = DeviceState::link_down;
    rina::vmpi::Profile profile = rina::vmpi::Profile::sluice;
    rina::vmpi::Role role = rina::vmpi::Role::alike;
    rina::vmpi::Role peer_role = rina::vmpi::Role::alike;
    std::uint64_t own_epoch = 0;
    std::uint64_t peer_epoch = 0;
    AgreedLimits limits{};
    rina::Reason last_down = rina::Reason::ok;
    std::vector<rina::AppName> apps;
    std::vector<FlowInfo> flows;  // by handle
    ControlCounters counters{};
};

// The control state machine of one VMPI device: HELLO, flows, keepalive. It belongs to the control
// thread. Pure: time and the seed come in, actions go out through the outbox, in order.
class ShimHv {
  public:
    // The parameters must pass check().
    explicit ShimHv(const Params& params);
    ~ShimHv();
    ShimHv(ShimHv&&) noexcept;
    ShimHv& operator=(ShimHv&&) noexcept;

    // ---- the device ----
    void link_up(Instant now, Outbox& out);
    void link_down(Instant now, Outbox& out);
    // A control message, without its channel word. CREDIT and CREDIT_PROBE are ignored here.
    void on_control(Instant now, std::span<const std::byte> message, Outbox& out);
    // A frame of any kind came from the peer at about this time (for the keepalive).
    void note_frame_seen(Instant now) noexcept;
    void on_timeout(Instant now, Outbox& out);
    Instant next_deadline() const noexcept;

    // ---- the users ----
    Result<> register_app(const rina::AppName& name);
    // Deallocates the flows of this name on this device, with a FlowDeallocated for each.
    Result<> unregister_app(Instant now, const rina::AppName& name, Outbox& out);
    // Ends in FlowAllocated or FlowFailed. cookie: whatever the data plane wants back in verdicts.
    Result<FlowHandle> allocate(Instant now, const rina::AppName& source,
                                const rina::AppName& destination, std::uint32_t cookie,
                                Outbox& out);
    // Answers to FlowRequested. ESRCH if the request is gone meanwhile.
    Result<> accept(Instant now, FlowHandle flow, std::uint32_t cookie, Outbox& out);
    Result<> refuse(Instant now, FlowHandle flow, rina::Reason reason, Outbox& out);
    // No event follows: the caller knows. Also withdraws an allocation that is under way.
    Result<> deallocate(Instant now, FlowHandle flow, Outbox& out);

    // ---- introspection ----
    DeviceState state() const noexcept;
    const AgreedLimits& limits() const noexcept;
    const Params& params() const noexcept;
    const ControlCounters& counters() const noexcept;
    DeviceInfo info() const;

  private:
    class Machine;         // what both profiles have in common
    class SluiceMachine;   // profile sluice
    class IratiMachine;    // profile irati
    std::unique_ptr<Machine> machine_;
};

}  // namespace sluice::shim_hv
