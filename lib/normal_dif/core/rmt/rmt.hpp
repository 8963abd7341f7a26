#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/drop_reason.hpp"
#include "base/result.hpp"
#include "base/types.hpp"
#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/rmt/n1_port.hpp"
#include "normal_dif/core/rmt/pft.hpp"
#include "rina/pci.hpp"

// The relaying and multiplexing task of an IPC process: of each PDU, whether it is for this IPC
// process or for which N-1 port. What is relayed is rewritten where it lies; schedulers, SDU
// protection and N-1 ports come behind it.
namespace sluice::rmt {

// A PDU as it came from an N-1 port, after SDU protection. Its bytes may belong to somebody who
// changes them meanwhile: they are copied before they are looked at.
struct RxPdu {
    PduToken token{};
    std::byte* head = nullptr;     // the first head_bytes of the frame, in one piece
    std::uint32_t head_bytes = 0;  // a PCI or more, unless the frame is shorter
    std::uint32_t frame_bytes = 0;
    N1PortId arrival{};
};

struct Decision {
    enum class Kind : std::uint8_t {
        forward,     // to N-1 port `port`, with a hop less
        local,       // to the flow of pci.destination_cep, if there is one
        management,  // to this IPC process's management, as come from N-1 port `port`
        drop,
    };
    Kind kind = Kind::drop;
    DropReason reason = DropReason::discarded;  // of a drop
    N1PortId port = kNoN1Port;
    // Of all but drops, as it came; the PDU ends after pci.length bytes, what else the frame has is
    // padding and to be cut off.
    rina::Pci pci;
};

struct RmtParams {
    rina::PciFormat format{};
    rina::Address own{};
    // PDUs carry an Internet checksum (rlite's parameter "csum"): what is rewritten keeps it true.
    bool inet_checksum = false;
    // An N-1 flow has two ends. A PDU that would go back where it came from is in a loop of two
    // nodes that do not agree, and would go to and fro until its TTL ends.
    bool split_horizon = true;
};

class Rmt {
  public:
    explicit Rmt(const RmtParams& params) noexcept : params_(params) {}

    // out[i] is about pdus[i], which must not be more. No PDU is touched that is not forwarded.
    void decide(std::span<const RxPdu> pdus, const Pft& pft, const N1PortSet& up,
                std::span<Decision> out) const noexcept;

    // Where a PDU of this IPC process goes: to an N-1 port, or, if it is for this IPC process and
    // no entry says otherwise, back to it (a flow between two applications on one node). PDUs for
    // address 0 go to a neighbour over a port that is known, and are not routed.
    Decision send(const rina::Pci& pci, const Pft& pft, const N1PortSet& up) const noexcept;

    bool is_own(rina::Address address) const noexcept {
        return address == params_.own ||
               (faults::is_active(faults::Fault::former_address_kept) && address == former_ &&
                former_ != rina::kThisHop);
    }
    const RmtParams& params() const noexcept { return params_; }
    // What comes from an N-1 port must have this source address: any (as for ports that nothing was
    // said of), that of the one member that is behind it, or none, and then nothing is taken from
    // there but management for this hop. Network ingress filtering (RFC 2827): a member at the edge
    // of the DIF cannot write to the flows of others. Between bursts. EINVAL: no N-1 port.
    Result<> set_source(N1PortId port, rina::Address source);

    // For a renumbering, between bursts. Who has the address before may be somebody else by now:
    // PDUs for it are for him.
    void set_own(rina::Address own) noexcept { former_ = std::exchange(params_.own, own); }

  private:
    template <bool kDefault>
    void decide_all(std::span<const RxPdu> pdus, const Pft& pft, const N1PortSet& up,
                    std::span<Decision> out) const noexcept;
    template <bool kDefault>
    bool look(const RxPdu& pdu, Decision& out) const noexcept;
    void forward(const RxPdu& pdu, const Pft& pft, const N1PortSet& up,
                 Decision& out) const noexcept;
    bool may_come(rina::Address source, N1PortId arrival) const noexcept {
        if (arrival.value >= sources_.size()) return true;
        const rina::Address allowed = sources_[arrival.value];
        return allowed == kAnySource || allowed == source;
    }

    RmtParams params_;
    rina::Address former_ = rina::kThisHop;  // for nothing but the fault of its name
    std::vector<rina::Address> sources_;  // by N-1 port
};

// Congestion was experienced: sets the flag in the PCI at `head`, of what a scheduler marked.
void mark_congestion(std::byte* head, bool inet_checksum) noexcept;

}  // namespace sluice::rmt
