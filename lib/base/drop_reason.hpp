#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice {

// Why a packet went no further. Every dropped packet is counted under exactly one of these, per
// stage and lcore; each is a row of "show drops". Add a reason by adding a line.
//       name                   what happened
#define SLUICE_DROP_REASONS(X)                                                                 \
    X(edge_full,                "the ring to the next stage was full (drop_tail)")             \
    X(edge_credit_exceeded,     "a stage sent more over a credit edge than it was granted")    \
    X(edge_removed,             "in a ring that a new plan took away")                         \
    X(outlet_unconnected,       "the outlet leads nowhere")                                    \
    X(tx_ring_full,             "the port's transmit ring stayed full")                        \
    X(tx_rejected,              "the port cannot carry a frame of this shape")                 \
    X(link_down,                "the port had no peer")                                        \
    X(no_mbuf,                  "the packet pool was empty")                                   \
    X(punt_full,                "the queue to the control thread was full")                    \
    X(punt_quota,               "one port had too much waiting for the control thread")        \
    X(stopped,                  "still queued when forwarding was stopped")                    \
    X(discarded,                "a stage that is there to discard did so")                     \
    X(too_long,                 "longer than the next hop or file can take")                   \
    X(too_short,                "shorter than its header")                                     \
    X(no_flow,                  "belongs to no flow that is open here")                        \
    X(no_credit,                "sent without credit of the receiver")                         \
    X(vmpi_short_frame,         "VMPI: shorter than the channel word")                         \
    X(vmpi_malformed_short,     "VMPI: short frame whose length makes no sense")               \
    X(vmpi_unknown_channel,     "VMPI: channel above the agreed limit")                        \
    X(vmpi_not_allocated,       "VMPI: channel without a flow")                                \
    X(vmpi_stale_generation,    "VMPI: channel's former user")                                 \
    X(vmpi_oversized,           "VMPI: SDU above the agreed limit")                            \
    X(vmpi_credit_overrun,      "VMPI: peer sent more than it was granted")                    \
    X(vmpi_bad_control,         "VMPI: control message that does not parse")                   \
    X(vmpi_stale_epoch,         "VMPI: control message of another life of the peer")           \
    X(vmpi_control_flood,       "VMPI: control messages above the rate limit")                 \
    X(vmpi_peer_reset,          "VMPI: was queued for a peer that went away")                  \
    X(vmpi_ring_lost,           "VMPI: the peer sent it, it never came (in credit units)")     \
    X(capture_no_buffer,        "capture: no free buffer")                                     \
    X(capture_write_error,      "capture: the file could not be written")                      \
    X(dif_bad_length,           "DIF: PDU whose length is not that of its frame and type")     \
    X(dif_unknown_type,         "DIF: PDU of a type that nobody knows")                        \
    X(dif_no_destination,       "DIF: data or control PDU for address 0")                      \
    X(dif_ttl_expired,          "DIF: PDU to be relayed that had no hop left")                 \
    X(dif_ttl_excessive,        "DIF: PDU with more hops left than the DIF allows")            \
    X(dif_no_route,             "DIF: no entry in the PDU forwarding table")                   \
    X(dif_n1_down,              "DIF: all N-1 ports of the route are down")                    \
    X(dif_wrong_source,         "DIF: PDU from an address that is not behind its N-1 port")    \
    X(dif_returning,            "DIF: the route leads back to where the PDU came from")        \
    X(dif_queue_full,           "DIF: the queue of the N-1 port was full")                     \
    X(dif_bad_checksum,         "DIF: checksum or CRC is not that of the PDU")                 \
    X(dif_not_protected,        "DIF: no PDU under SDU protection where all have it")          \
    X(dif_unknown_epoch,        "DIF: protected with a key that is not in use")                \
    X(dif_replayed,             "DIF: protected PDU that came before, or too late")            \
    X(dif_forged,               "DIF: protected PDU that its key did not make")                \
    X(dif_no_key,               "DIF: no key, or one that is used up")                         \
    X(dif_no_room,              "DIF: no room in the buffer for SDU protection")               \
    X(efcp_wrong_peer,            "EFCP: from an address or CEP-id that is not the connection's")\
    X(efcp_duplicate,             "EFCP: data PDU that came before")                           \
    X(efcp_late,                  "EFCP: later ones were delivered, and order was asked for")  \
    X(efcp_beyond_window,         "EFCP: sent without credit of the receiver")                 \
    X(efcp_reorder_full,          "EFCP: no room to wait for what is missing before it")       \
    X(efcp_bad_control,           "EFCP: control PDU that makes no sense")                     \
    X(efcp_run_over,              "EFCP: waited for PDUs of a run that is over")               \
    X(efcp_not_acked,             "EFCP: flow failed or was closed before the peer had it")    \
    X(efcp_bad_delimiting,        "EFCP: user data that is not delimited as agreed")           \
    X(efcp_sdu_incomplete,        "EFCP: part of an SDU of which another part was lost")       \
    X(app_refused,              "the application could not take it")

enum class DropReason : std::uint8_t {
#define SLUICE_X(name, text) name,
    SLUICE_DROP_REASONS(SLUICE_X)
#undef SLUICE_X
        count_
};

inline constexpr std::size_t kDropReasonCount = static_cast<std::size_t>(DropReason::count_);

struct DropReasonInfo {
    std::string_view name;
    std::string_view text;
};

inline constexpr std::array<DropReasonInfo, kDropReasonCount> kDropReasonInfo = {{
#define SLUICE_X(name, text) {#name, text},
    SLUICE_DROP_REASONS(SLUICE_X)
#undef SLUICE_X
}};

constexpr const DropReasonInfo& info_of(DropReason reason) noexcept {
    return kDropReasonInfo[static_cast<std::size_t>(reason)];
}

}  // namespace sluice
