#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.hpp"
#include "base/drop_reason.hpp"
#include "base/types.hpp"
#include "rina/pci.hpp"

// What a connection is handed and what it hands back. Each token that went in by submit() comes
// out once, as a SendItem that is not kept, as done or as dropped; each that went in by on_burst()
// comes out once, as delivered, as done or as dropped. In between it is held.
namespace sluice::efcp {

// An array with room for N: nothing is allocated on the way of a PDU.
template <typename T, std::size_t N>
class Bounded {
  public:
    static constexpr std::size_t capacity() noexcept { return N; }
    std::size_t size() const noexcept { return size_; }
    std::size_t room() const noexcept { return N - size_; }
    bool empty() const noexcept { return size_ == 0; }
    bool full() const noexcept { return size_ == N; }
    void clear() noexcept { size_ = 0; }

    // Only if not full. What was there before is still in it.
    T& add() noexcept {
        SLUICE_DCHECK(size_ < N);
        return items_[size_++];
    }
    void add(const T& item) noexcept { add() = item; }

    T& operator[](std::size_t i) noexcept { return items_[i]; }
    const T& operator[](std::size_t i) const noexcept { return items_[i]; }
    const T* begin() const noexcept { return items_.data(); }
    const T* end() const noexcept { return items_.data() + size_; }
    std::span<const T> span() const noexcept { return {items_.data(), size_}; }

  private:
    std::uint32_t size_ = 0;
    std::array<T, N> items_;
};

// User data of one DT PDU, to be sent.
struct TxItem {
    PduToken token{};
    std::uint32_t bytes = 0;
};

// A PDU that the RMT found to be for this connection. `bytes`: the whole PDU, without padding; of a
// data PDU only the header need be there.
struct RxItem {
    PduToken token{};
    rina::Pci pci;
    std::span<const std::byte> bytes;
};

// Data to be sent with this header in front.
struct SendItem {
    PduToken token{};
    rina::Pci pci;
    // The connection keeps the token for a retransmission: send a reference. If not, the token is
    // the sender's from now on.
    bool kept = false;
};

struct DeliverItem {
    PduToken token{};
    std::uint64_t sequence = 0;  // does not roll over: the next PDU of the run has the next number
    std::uint32_t bytes = 0;     // of user data, behind the PCI
};

struct DropItem {
    PduToken token{};
    DropReason reason = DropReason::discarded;
};

// Received and waiting above a gap; both ends inclusive.
struct SackBlock {
    std::uint64_t first = 0;
    std::uint64_t last = 0;

    bool operator==(const SackBlock&) const = default;
};
inline constexpr std::size_t kSackBlocksMax = 16;

// A PDU without user data, to be built and sent (control_pdu.hpp). If there is no buffer for it, it
// is as good as lost on the way.
struct ControlItem {
    rina::Pci pci;
    rina::ControlPdu fields;
    Bounded<SackBlock, kSackBlocksMax> sack;
};

namespace event {
inline constexpr std::uint8_t kWritable = 0x01;     // submit() refused some, and would take more
inline constexpr std::uint8_t kGapExceeded = 0x02;  // more SDUs in a row were lost than agreed
inline constexpr std::uint8_t kFailed = 0x04;       // see Connection::failure()
inline constexpr std::uint8_t kDrained = 0x08;      // close() is complete
}  // namespace event

struct Outbox {
    static constexpr std::size_t kRoom = 128;
    static constexpr std::size_t kControlRoom = 16;

    Bounded<DeliverItem, kRoom> deliver;
    Bounded<SendItem, kRoom> send;
    Bounded<PduToken, kRoom> done;  // acknowledged by the peer, or a control PDU that was read
    Bounded<DropItem, kRoom> drop;
    Bounded<ControlItem, kControlRoom> control;
    std::uint8_t events = 0;

    void clear() noexcept {
        deliver.clear();
        send.clear();
        done.clear();
        drop.clear();
        control.clear();
        events = 0;
    }
    bool empty() const noexcept {
        return deliver.empty() && send.empty() && done.empty() && drop.empty() &&
               control.empty() && events == 0;
    }
};

}  // namespace sluice::efcp
