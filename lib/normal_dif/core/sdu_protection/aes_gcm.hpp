#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.hpp"
#include "base/types.hpp"
#include "normal_dif/core/sdu_protection/frame.hpp"
#include "normal_dif/core/sdu_protection/replay_window.hpp"

// Confidentiality, integrity and freshness of all of a PDU, its PCI included, on one N-1 flow:
// AES-GCM (NIST SP 800-38D) by libcrypto. On the N-1 flow:
//
//   bytes        what
//   0            1, the version of this format. A PDU without protection begins with 0 (the
//                version in the PCI).
//   1            0
//   2..3         key epoch, least byte first, as all numbers here
//   4..7         n, the length of the PDU: the N-1 flow may pad the frame
//   8..15        counter of the PDUs of this epoch and direction, from 0
//   16..15+n     the PDU, encrypted
//   16+n..31+n   tag
//
// Bytes 0 to 15 are the additional authenticated data. The nonce is the salt of the epoch and
// direction (4 bytes) and bytes 8 to 15: with a key of its own for each epoch and direction, and a
// counter that is never set back, no nonce comes twice. When the counter is used up nothing is sent
// until there is another epoch.
//
// Epochs change without loss: the receiver is given the next key first; it uses it from the first
// PDU on that proves that its sender has it, and takes PDUs of the former epoch for some time more.
namespace sluice::sdup {

enum class Cipher : std::uint8_t { aes_128_gcm, aes_256_gcm };
std::string_view to_string(Cipher cipher) noexcept;

using KeyEpoch = StrongId<struct KeyEpochTag, std::uint16_t>;
// In serial arithmetic: epochs roll over.
constexpr bool is_later(KeyEpoch a, KeyEpoch b) noexcept {
    return static_cast<std::int16_t>(static_cast<std::uint16_t>(a.value - b.value)) > 0;
}

// Of one epoch and direction. Overwritten when it goes.
struct TrafficKey {
    std::array<std::byte, 32> key{};  // AES-128 uses the first 16 bytes
    std::array<std::byte, 4> salt{};

    TrafficKey() = default;
    TrafficKey(const TrafficKey&) = default;
    TrafficKey& operator=(const TrafficKey&) = default;
    ~TrafficKey();
};

// Of both directions of an N-1 flow; forward is from who allocated it.
struct FlowKeys {
    TrafficKey forward;
    TrafficKey backward;
};

// HKDF-SHA256 (RFC 5869) of a secret that both ends have. `context` must be new for each life of
// the flow (nonces of both ends, say): otherwise a restarted node uses the same keys with counters
// from 0, and gives its PDUs away. EINVAL: less than 16 bytes of secret or of context.
Result<FlowKeys> derive_keys(Cipher cipher, std::span<const std::byte> secret,
                             std::span<const std::byte> context, KeyEpoch epoch);
Result<> hkdf_sha256(std::span<const std::byte> secret, std::span<const std::byte> salt,
                     std::span<const std::byte> info, std::span<std::byte> out);

inline constexpr std::uint16_t kGcmHeaderBytes = 16;
inline constexpr std::uint16_t kGcmTagBytes = 16;
inline constexpr std::size_t kGcmNonceBytes = 12;

// A key that libcrypto has made ready for one direction. Nothing is allocated after make().
class GcmContext {
  public:
    enum class Use : std::uint8_t { seal, open };
    static Result<GcmContext> make(Cipher cipher, std::span<const std::byte, 32> key, Use use);

    // In place. False: libcrypto failed, or (open) the tag is not that of the message; the message
    // is garbage then.
    bool seal(std::span<const std::byte, kGcmNonceBytes> nonce, std::span<const std::byte> aad,
              std::span<std::byte> message, std::span<std::byte, kGcmTagBytes> tag) noexcept;
    bool open(std::span<const std::byte, kGcmNonceBytes> nonce, std::span<const std::byte> aad,
              std::span<std::byte> message, std::span<const std::byte, kGcmTagBytes> tag) noexcept;

  private:
    struct Free {
        void operator()(void* context) const noexcept;
    };
    std::unique_ptr<void, Free> context_;
};

class AesGcmSealer {
  public:
    struct Params {
        Cipher cipher = Cipher::aes_128_gcm;
        // wants_key() from then on. At 1500 bytes, 2^32 PDUs of one key leave who attacks
        // confidentiality an advantage of 2^-51 (bound of Iwata et al., CRYPTO 2012).
        std::uint64_t renew_after_pdus = std::uint64_t{1} << 32;
        std::uint64_t pdus_max = std::uint64_t{1} << 48;  // then there is no key any more
    };

    explicit AesGcmSealer(const Params& params) noexcept : params_(params) {}

    // To seal with from now on. EINVAL: the epoch is not later than the last one.
    Result<> install(KeyEpoch epoch, const TrafficKey& key);
    bool wants_key() const noexcept { return !key_ || counter_ >= params_.renew_after_pdus; }
    std::optional<KeyEpoch> epoch() const noexcept {
        return key_ ? std::optional(epoch_) : std::nullopt;
    }

    Overhead overhead() const noexcept { return {kGcmHeaderBytes, kGcmTagBytes}; }
    void seal(Instant now, std::span<Frame> frames) noexcept;

  private:
    void seal_one(Frame& frame) noexcept;

    Params params_;
    std::optional<GcmContext> key_;
    std::array<std::byte, 4> salt_{};
    KeyEpoch epoch_{};
    std::uint64_t counter_ = 0;
};

class AesGcmOpener {
  public:
    struct Params {
        Cipher cipher = Cipher::aes_128_gcm;
        // Longer than PDUs stay on the N-1 flow.
        Duration old_epoch_lasts = Duration::seconds(5);
    };

    explicit AesGcmOpener(const Params& params) noexcept : params_(params) {}

    // To be accepted as well. One that was given before and has not yet been used is forgotten.
    // EINVAL: the epoch is not later than the last one.
    Result<> install(KeyEpoch epoch, const TrafficKey& key);
    std::optional<KeyEpoch> epoch() const noexcept {
        return current_ ? std::optional(current_->epoch) : std::nullopt;
    }

    void open(Instant now, std::span<Frame> frames) noexcept;

    // When the former key is to be forgotten; open() does so too.
    Instant next_deadline() const noexcept { return former_ ? former_until_ : Instant::never(); }
    void on_timeout(Instant now) noexcept {
        if (former_ && now >= former_until_) former_.reset();
    }

  private:
    struct Epoch {
        GcmContext key;
        std::array<std::byte, 4> salt{};
        KeyEpoch epoch{};
        ReplayWindow window;
    };

    void open_one(Instant now, Frame& frame) noexcept;
    Epoch* find(KeyEpoch epoch) noexcept;

    Params params_;
    std::optional<Epoch> former_;
    std::optional<Epoch> current_;
    std::optional<Epoch> next_;
    Instant former_until_ = Instant::never();
};

static_assert(Sealer<AesGcmSealer> && Opener<AesGcmOpener>);

}  // namespace sluice::sdup
