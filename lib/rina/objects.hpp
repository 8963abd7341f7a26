#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "rina/cdap.hpp"
#include "rina/message_value.hpp"
#include "rina/names.hpp"
#include "rina/pci.hpp"

// The objects of rlite's RIBs that travel as the value of CDAP messages (BaseRIB.proto there). A
// default member value is what an absent field means, so a message starts from nothing and says
// what it needs. "Not used by rlite": the field exists, it neither sends nor reads it.
//
// Names of IPC processes are strings in rlite's form (rina/rlite_name.hpp).
namespace sluice::rina {

// ---- enrollment ------------------------------------------------------------------------------

// The widths and limits of a DIF that all members must agree on.
struct DataTransferConstants {
    std::uint32_t pdu_bytes_max = 0;
    std::uint32_t address_width = 0;  // these in bytes
    std::uint32_t port_id_width = 0;
    std::uint32_t cep_id_width = 0;
    std::uint32_t qos_id_width = 0;
    std::uint32_t sequence_width = 0;
    std::uint32_t length_width = 0;
    // rlite computes it wrongly and does not use it: not to be relied upon.
    std::uint64_t sequence_rollover_threshold = 0;
    std::uint32_t pdu_lifetime_ms_max = 0;
    bool concatenation = false;
    bool fragmentation = false;
    bool integrity = false;
    std::uint32_t retransmission_ms_max = 0;
    std::uint32_t ack_delay_ms_max = 0;
    std::uint32_t rate_width = 0;   // not used by rlite
    std::uint32_t frame_width = 0;  // not used by rlite
    std::uint32_t control_sequence_width = 0;

    bool operator==(const DataTransferConstants&) const = default;
};

// What rlite's default flavour sends, number for number.
DataTransferConstants rlite_constants();

struct EnrollmentInfo {
    std::optional<Address> address;  // the enrollee's; 0 from the enroller: keep yours
    std::vector<std::string> lower_difs;
    std::optional<bool> start_early;
    std::optional<DataTransferConstants> constants;

    bool operator==(const EnrollmentInfo&) const = default;
};

// ---- neighbours, routing, directory, addresses -------------------------------------------------

struct NeighborCandidate {
    std::string process;
    std::string instance;
    Address address{};
    std::vector<std::string> lower_difs;
    // Ours, 0 from rlite, which has no such field: the upper half grows from one start of the IPC
    // process to the next, the lower one with each thing that it says of itself.
    std::uint64_t version = 0;

    bool operator==(const NeighborCandidate&) const = default;
};
struct NeighborCandidateList {
    std::vector<NeighborCandidate> candidates;
    bool operator==(const NeighborCandidateList&) const = default;
};

// One direction of an adjacency, of the link-state routing.
struct LowerFlow {
    std::string local_node;
    std::string remote_node;
    std::uint32_t cost = 0;
    std::uint32_t sequence = 0;
    bool is_up = false;
    std::uint32_t age_s = 0;

    bool operator==(const LowerFlow&) const = default;
};
struct LowerFlowList {
    std::vector<LowerFlow> flows;
    bool operator==(const LowerFlowList&) const = default;
};

// Where an application is registered.
struct DftEntry {
    AppName application;
    std::string ipcp;
    std::uint64_t sequence = 0;

    bool operator==(const DftEntry&) const = default;
};
struct DftSlice {
    std::vector<DftEntry> entries;
    bool operator==(const DftSlice&) const = default;
};

struct AddrAllocRequest {
    std::string requestor;
    Address address{};

    bool operator==(const AddrAllocRequest&) const = default;
};
struct AddrAllocEntries {
    std::vector<AddrAllocRequest> entries;
    bool operator==(const AddrAllocEntries&) const = default;
};

// ---- flows -----------------------------------------------------------------------------------

struct ConnId {
    QosId qos{};
    CepId source_cep{};
    CepId destination_cep{};

    bool operator==(const ConnId&) const = default;
};

struct Property {
    std::string name;
    std::string value;

    bool operator==(const Property&) const = default;
};

// Not used by rlite, wherever it appears.
struct PolicyDescr {
    std::string name;
    std::string implementation;
    std::string version;
    std::vector<Property> parameters;

    bool operator==(const PolicyDescr&) const = default;
};

struct QosSpec {
    std::string name;                            // not used by rlite
    std::uint32_t qos_id = 0;                    // not used by rlite
    std::uint64_t average_bandwidth_bps = 0;     // bits, whatever the comment in rlite says; 0: any
    std::uint64_t average_sdu_rate = 0;          // not used by rlite
    std::uint32_t peak_bandwidth_duration = 0;   // not used by rlite
    std::uint32_t peak_sdu_rate_duration = 0;    // not used by rlite
    double undetected_bit_error_rate = 0;        // not used by rlite
    bool partial_delivery = false;
    bool in_order_delivery = false;
    std::int32_t sdu_gap_max = 0;  // -1: any, 0: none may be missing, which means retransmission
    std::uint32_t delay = 0;       // not used by rlite
    std::uint32_t jitter = 0;      // not used by rlite
    std::vector<Property> parameters;  // not used by rlite

    bool operator==(const QosSpec&) const = default;
};

struct WindowCfg {
    std::uint64_t closed_window_queue_max = 0;  // PDUs
    std::uint64_t initial_credit = 0;           // PDUs
    Boxed<PolicyDescr> receiver_flow_control, tx_control;

    bool operator==(const WindowCfg&) const = default;
};

struct RateCfg {
    std::uint64_t sender_rate = 0;  // PDUs in a period
    std::uint64_t period_us = 0;
    Boxed<PolicyDescr> no_rate_slow_down, no_override_default_peak, rate_reduction;

    bool operator==(const RateCfg&) const = default;
};

struct FlowCtrlConfig {
    bool window_based = false;
    std::optional<WindowCfg> window;
    bool rate_based = false;
    std::optional<RateCfg> rate;
    // Not used by rlite.
    std::uint64_t sent_bytes_threshold = 0, sent_bytes_percent_threshold = 0,
                  sent_buffers_threshold = 0, received_bytes_threshold = 0,
                  received_bytes_percent_threshold = 0, received_buffers_threshold = 0;
    Boxed<PolicyDescr> closed_window, overrun, reconcile, receiving;

    bool operator==(const FlowCtrlConfig&) const = default;
};

struct RtxCtrlConfig {
    std::uint32_t time_to_retry_max = 0;
    std::uint32_t data_rxmsn_max = 0;  // times that a PDU may be sent again
    Boxed<PolicyDescr> timer_expiry, sender_ack, receiving_ack_list, receiver_ack, sending_ack,
        receiver_control_ack;
    std::uint32_t initial_timeout_ms = 0;

    bool operator==(const RtxCtrlConfig&) const = default;
};

struct DtcpConfig {
    bool flow_control = false;
    FlowCtrlConfig flow;
    bool retransmission_control = false;
    RtxCtrlConfig retransmission;
    Boxed<PolicyDescr> lost_control_pdu, rtt_estimator;

    bool operator==(const DtcpConfig&) const = default;
};

struct ConnPolicies {
    bool dtcp_present = false;
    DtcpConfig dtcp;
    Boxed<PolicyDescr> receiver_inactivity, sender_inactivity, initial_sequence;
    std::uint64_t sequence_rollover_threshold = 0;  // not used by rlite
    std::uint32_t initial_a_timer_ms = 0;

    bool operator==(const ConnPolicies&) const = default;
};

// A request for a flow, and, completed by the other side, its answer.
struct FlowRequest {
    AppName source_application;
    AppName destination_application;
    std::uint64_t source_port = 0;
    std::uint64_t destination_port = 0;
    std::string source_ipcp;
    std::string destination_ipcp;
    std::vector<ConnId> connections;
    std::uint32_t current_connection = 0;
    std::uint32_t state = 0;  // rlite: 1
    QosSpec qos;
    ConnPolicies policies;
    Bytes access_control;  // not used by rlite
    std::uint32_t create_retries_max = 0;
    std::uint32_t create_retries = 0;
    std::uint32_t hop_count = 0;

    bool operator==(const FlowRequest&) const = default;
};

// ---- messages to a member of the DIF that is no neighbour ------------------------------------

// A CDAP message on its way by address. Its own value is not looked into, so this does not nest.
struct AData {
    // rlite has 32 bits for them. Larger ones pass between our own nodes, up to the last 2^31
    // numbers of 64 bits, which look like negative ones of rlite.
    Address source{};
    Address destination{};
    CdapMessage message;

    bool operator==(const AData&) const = default;
};

// ---- all of them -----------------------------------------------------------------------------

template <typename T, typename... Us>
concept OneOf = (std::same_as<T, Us> || ...);
template <typename T>
concept ObjectType =
    OneOf<T, AppName, DataTransferConstants, EnrollmentInfo, NeighborCandidate,
          NeighborCandidateList, LowerFlow, LowerFlowList, DftEntry, DftSlice, AddrAllocRequest,
          AddrAllocEntries, AData, ConnId, Property, PolicyDescr, QosSpec, WindowCfg, RateCfg,
          FlowCtrlConfig, RtxCtrlConfig, DtcpConfig, ConnPolicies, FlowRequest>;

// Each object has the same three functions: decode<T>(), which gives EBADMSG for what is no T,
// encode(), and encode() into a buffer. They work like those of CDAP messages.
template <ObjectType T>
Result<T> decode(std::span<const std::byte> bytes);
template <ObjectType T>
Bytes encode(const T& object, Emission emission = Emission::as_rlite);
template <ObjectType T>
std::size_t encode(const T& object, std::span<std::byte> to,
                   Emission emission = Emission::as_rlite) noexcept;

// The class and the name of an object, which each message about it carries.
struct RibName {
    std::string_view obj_class;
    std::string_view obj_name;
};

namespace rib {
inline constexpr RibName kEnrollment{"enrollment", "/mgmt/enrollment"};
inline constexpr RibName kLowerFlow{"lowerflow", "/mgmt/lowerflow"};
inline constexpr RibName kOperationalStatus{"operational_status", "/mgmt/operational_status"};
inline constexpr RibName kKeepalive{"keepalive", "/mgmt/keepalive"};
inline constexpr RibName kNeighbors{"neigh_entries", "/mgmt/neighbors/entries"};
inline constexpr RibName kRouting{"lfdb_entries", "/mgmt/routing/routing"};
inline constexpr RibName kDft{"dft_entries", "/mgmt/dft/table"};
inline constexpr RibName kAddressClaim{"aareq", "/mgmt/addralloc/table"};
inline constexpr RibName kAddresses{"aa_entries", "/mgmt/addralloc/table"};
// M_DELETE: with '/' and the receiver's port-id behind the name.
inline constexpr RibName kFlow{"flow", "/mgmt/flowalloc/flows"};
inline constexpr RibName kAData{"a_data", "/a_data"};
// Text. The class of a parameter is the parameter's name.
inline constexpr RibName kDftPolicy{"policy", "/mgmt/dft/policy"};
inline constexpr RibName kRoutingPolicy{"policy", "/mgmt/routing/policy"};
inline constexpr RibName kAddressPolicy{"policy", "/mgmt/addralloc/policy"};
inline constexpr std::string_view kDftParameters = "/mgmt/dft/params";
inline constexpr std::string_view kAddressParameters = "/mgmt/addralloc/params";
}  // namespace rib

// The value of a message as its class has it: nothing if the message has no value or its class has
// none that is an object.
using RibObject = std::variant<std::monostate, EnrollmentInfo, NeighborCandidateList,
                               LowerFlowList, DftSlice, AddrAllocRequest, AddrAllocEntries,
                               FlowRequest, AData>;

// EBADMSG if the value is not an object of the message's class.
Result<RibObject> object_of(const CdapMessage& message);

// The object as the value of a message; an object of nothing is no value.
ObjValue value_of(const RibObject& object, Emission emission = Emission::as_rlite);

}  // namespace sluice::rina
