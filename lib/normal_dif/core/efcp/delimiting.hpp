#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/drop_reason.hpp"
#include "base/types.hpp"

// Delimiting: SDUs of any size as user data of DT PDUs of limited size, and back; between our own
// nodes (rlite has one SDU in one PDU and nothing in front of it). The first byte of the user data
// says what follows; integers are little-endian:
//   0x07  whole    the SDU
//   0x05  first    u32 length of the whole SDU, then its beginning
//   0x04  middle   more of it
//   0x06  last     the rest of it
//   0x0f  several  n times: u16 length, and an SDU of that length; n >= 1
// The parts of an SDU are in PDUs that follow each other. 0x01 stands for a beginning and 0x02 for
// an end of an SDU, as in the flag byte of IRATI's delimiter.
namespace sluice::efcp {

namespace delimiter {
inline constexpr std::uint8_t kMiddle = 0x04;
inline constexpr std::uint8_t kFirst = 0x05;
inline constexpr std::uint8_t kLast = 0x06;
inline constexpr std::uint8_t kWhole = 0x07;
inline constexpr std::uint8_t kSeveral = 0x0f;
inline constexpr std::uint32_t kHeaderBytes = 1;
inline constexpr std::uint32_t kFirstHeaderBytes = 5;
inline constexpr std::uint32_t kLengthBytes = 2;
inline constexpr std::uint32_t kSeveralSduMax = 65535;
}  // namespace delimiter

// What goes into one PDU: this header, then bytes of the SDU.
struct Fragment {
    std::array<std::byte, delimiter::kFirstHeaderBytes> header{};
    std::uint32_t header_bytes = 0;
    std::uint32_t offset = 0;
    std::uint32_t bytes = 0;
};

// Cuts an SDU: next() until it gives nothing. Nothing is copied.
class Fragmenter {
  public:
    // user_data_max: at least delimiter::kFirstHeaderBytes + 1.
    Fragmenter(std::uint32_t sdu_bytes, std::uint32_t user_data_max) noexcept
        : sdu_bytes_(sdu_bytes), user_data_max_(user_data_max) {}

    std::optional<Fragment> next() noexcept;
    static std::uint32_t count(std::uint32_t sdu_bytes, std::uint32_t user_data_max) noexcept;

  private:
    std::uint32_t sdu_bytes_;
    std::uint32_t user_data_max_;
    std::uint32_t offset_ = 0;
    bool is_done_ = false;
};

// Puts short SDUs into one PDU, in place.
class Concatenator {
  public:
    explicit Concatenator(std::span<std::byte> user_data) noexcept : user_data_(user_data) {}

    // False if it does not fit; the PDU is as before then.
    bool add(std::span<const std::byte> sdu) noexcept;
    std::uint32_t count() const noexcept { return count_; }
    // Of user data so far; 0 if there is nothing to send.
    std::uint32_t bytes() const noexcept { return bytes_; }

  private:
    std::span<std::byte> user_data_;
    std::uint32_t bytes_ = 0;
    std::uint32_t count_ = 0;
};

// Puts SDUs together again. Told of each PDU in the order of its sequence numbers; holds the tokens
// of an SDU until its last part is here, and drops an SDU of which a part was lost, and no other.
class Reassembler {
  public:
    struct Limits {
        std::uint32_t sdu_bytes_max = 1u << 20;
        // Each part holds a buffer, so tiny ones cost more than their bytes say.
        std::uint32_t parts_max = 4096;
    };
    // Bytes of the token's user data that belong to an SDU, in their order. The token is the
    // taker's with the last piece that has it.
    struct Piece {
        PduToken token{};
        std::uint32_t offset = 0;  // into the user data
        std::uint32_t bytes = 0;
        bool ends_sdu = false;
        bool is_last_of_token = false;
    };
    struct Dropped {
        PduToken token{};
        DropReason reason = DropReason::discarded;
    };

    explicit Reassembler(const Limits& limits) noexcept : limits_(limits) {}

    // `user_data`: all of it, or if it is long its first kHeadBytes; of "several" all of it.
    static constexpr std::size_t kHeadBytes = delimiter::kFirstHeaderBytes;
    void on_pdu(std::uint64_t sequence, PduToken token, std::span<const std::byte> user_data,
                std::uint32_t user_data_bytes);

    // What came of it; both until they give nothing, before the next PDU.
    std::optional<Piece> take_piece() noexcept;
    std::optional<Dropped> take_dropped() noexcept;

    // Drops the SDU that is not complete: the flow ends.
    void abandon();

    std::uint32_t held_bytes() const noexcept { return have_bytes_; }
    std::size_t held_parts() const noexcept { return parts_.size(); }
    std::uint64_t sdus_lost() const noexcept { return sdus_lost_; }

  private:
    void on_part(std::uint8_t kind, PduToken token, std::span<const std::byte> user_data,
                 std::uint32_t user_data_bytes);
    void on_several(PduToken token, std::span<const std::byte> user_data);
    void complete();
    void drop(PduToken token, DropReason reason) { dropped_.push_back({token, reason}); }
    void lose(DropReason reason);

    Limits limits_;
    std::uint64_t next_sequence_ = 0;
    bool any_ = false;
    bool is_open_ = false;  // the first part came, and all so far
    std::uint32_t sdu_bytes_ = 0;
    std::uint32_t have_bytes_ = 0;
    std::uint64_t sdus_lost_ = 0;
    std::vector<Piece> parts_;
    // Kept for their memory: a PDU allocates nothing once they have grown to what is usual.
    std::vector<Piece> pieces_;
    std::size_t piece_at_ = 0;
    std::vector<Dropped> dropped_;
    std::size_t dropped_at_ = 0;
};

}  // namespace sluice::efcp
