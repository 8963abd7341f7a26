#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// Deliberate faults, to prove that the checkers of the simulated networks can see them. Only the
// second build of these libraries, the one that dif-sim-faulty links, has the switch; in the
// product is_active() is the constant false and costs nothing.

namespace sluice::faults {

enum class Fault : std::uint8_t {
    none,
    // ---- of rlite's nodes: observed there, or read in its sources ----
    // SDUs released by a retransmission are not counted as consumed, and the sender stays within
    // four PDUs of that edge: a reliable flow stalls after its first loss.
    lwe_stays_behind,
    // A data run flag starts a run, always: a first PDU that comes twice is delivered twice, and
    // the receiver begins anew.
    drf_delivered_again,
    // The first PDU is lost, and the second one is taken for the start of the run.
    second_starts_run,
    // The receiver holds 64 PDUs behind a gap and drops more; here it says that it has those, too.
    reorder_queue_of_64,
    // Who has left with M_RELEASE is not let in again.
    released_is_barred,
    // The enrollee does not wait as long as its enroller takes to be sure of an address.
    enrollee_is_impatient,
    // Invoke ids come again within the time for which the peer remembers them.
    invoke_id_reused,
    // Sequence numbers are compared as they are on the wire: a flow ends where they roll over.
    sequence_is_plain,
    // M_CREATE_R that refuses a flow has no value, which rlite reads all the same.
    refusal_without_value,
    // The bandwidth of a FlowRequest is in bytes (as the comment there has it) and not in bits.
    bandwidth_in_bytes,
    // A data PDU belongs to whatever connection has its destination CEP-id, whoever sent it.
    any_source_accepted,
    // A control PDU is read to the end of its last field, wherever the frame ends.
    short_control_read,
    // The PCI says how long a PDU is, and is believed.
    length_believed,
    // One message of a member and the process is gone: M_CREATE of a table without a value,
    crash_without_value,
    // A_DATA from address 0,
    crash_source_zero,
    // M_DELETE of a flow without a port-id,
    crash_delete_without_id,
    // M_READ of the keepalive object inside A_DATA.
    crash_keepalive_inside,

    // ---- what else is likely to go wrong ----
    // After a renumbering PDUs for the former address are taken in; before joining everybody has
    // the address of the first member.
    former_address_kept,
    // Neighbours do not compare their tables: what a lost message said stays unknown for minutes.
    no_digests,
    // A deletion is said once: when that is lost, the peer has a flow with one end.
    deletion_said_once,
    // Relays leave the TTL as it is: what gets into a loop stays there.
    ttl_not_counted,
    // New routes are added to the old ones: who cannot be reached any more stays in the table.
    routes_never_withdrawn,
    // Link states do not age: a member that died is in the graph for ever.
    no_ageing,
    // AES-GCM opens a frame as often as it comes.
    no_replay_window,
    // Nobody asks whether the window opened: when a credit update is lost, the flow stands still.
    no_window_probe,
    // The retransmission timer is not doubled: a path that is down is flooded, and a PDU's retries
    // are used up in no time.
    no_backoff,
    // A retransmission carries the payload of the one behind it.
    wrong_payload_resent,
    // Parts of SDUs are put together without a look at what is missing between them.
    gap_in_sdu_ignored,
    // What a receiver held for reordering is forgotten at the end of a flow, not given back.
    held_not_freed,
    // News goes back to the neighbour that it came from.
    flood_goes_back,
    // Of two members with one address neither takes another one.
    double_address_kept,
    // What others say of a member's own links and names is not put right by it.
    lies_not_corrected,
    // The window that a receiver grants forgets what was delivered and not consumed: buffers fill
    // up without a bound while the application does not read.
    window_ignores_user,
    // An acknowledgement says one more than what came: what was not received is never sent again.
    ack_one_too_many,
    // A member at the edge of the DIF may send in the name of others.
    sources_not_checked,
};
inline constexpr std::size_t kFaultCount = static_cast<std::size_t>(Fault::sources_not_checked) + 1;

constexpr std::string_view to_string(Fault fault) noexcept {
    constexpr std::string_view kNames[kFaultCount] = {"none",
                                                      "lwe_stays_behind",
                                                      "drf_delivered_again",
                                                      "second_starts_run",
                                                      "reorder_queue_of_64",
                                                      "released_is_barred",
                                                      "enrollee_is_impatient",
                                                      "invoke_id_reused",
                                                      "sequence_is_plain",
                                                      "refusal_without_value",
                                                      "bandwidth_in_bytes",
                                                      "any_source_accepted",
                                                      "short_control_read",
                                                      "length_believed",
                                                      "crash_without_value",
                                                      "crash_source_zero",
                                                      "crash_delete_without_id",
                                                      "crash_keepalive_inside",
                                                      "former_address_kept",
                                                      "no_digests",
                                                      "deletion_said_once",
                                                      "ttl_not_counted",
                                                      "routes_never_withdrawn",
                                                      "no_ageing",
                                                      "no_replay_window",
                                                      "no_window_probe",
                                                      "no_backoff",
                                                      "wrong_payload_resent",
                                                      "gap_in_sdu_ignored",
                                                      "held_not_freed",
                                                      "flood_goes_back",
                                                      "double_address_kept",
                                                      "lies_not_corrected",
                                                      "window_ignores_user",
                                                      "ack_one_too_many",
                                                      "sources_not_checked"};
    return kNames[static_cast<std::size_t>(fault)];
}

#ifdef SLUICE_FAULT_INJECTION
inline Fault active_fault = Fault::none;
// The process would not have survived this; for who runs the networks to look at.
inline bool has_crashed = false;
inline bool is_active(Fault fault) noexcept { return active_fault == fault; }
inline bool crashes(Fault fault) noexcept {
    has_crashed = has_crashed || active_fault == fault;
    return active_fault == fault;
}
inline void reset() noexcept { has_crashed = false; }
#else
inline constexpr bool has_crashed = false;
constexpr bool is_active(Fault) noexcept { return false; }
constexpr bool crashes(Fault) noexcept { return false; }
constexpr void reset() noexcept {}
#endif

}  // namespace sluice::faults
