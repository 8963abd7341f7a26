#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "base/check.hpp"
#include "dif_targets.hpp"
#include "normal_dif/core/efcp/delimiting.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"
#include "script.hpp"

namespace sluice::fuzz {

namespace {

using Bytes = std::vector<std::byte>;

// ---- SDU protection ----------------------------------------------------------------------------

using namespace sluice::sdup;

constexpr rina::PciFormat kFormats[] = {rina::kDefaultFormat, rina::kWideFormat, {8, 8, 4, 4, 2},
                                        {1, 1, 1, 1, 1}};

// A frame in a buffer of its own: a byte too far is seen.
struct Buffer {
    Buffer(const Bytes& content, std::uint16_t head, std::uint16_t tail)
        : bytes(head + content.size() + tail) {
        std::copy(content.begin(), content.end(), bytes.begin() + head);
        frame.data = bytes.data() + head;
        frame.bytes = static_cast<std::uint32_t>(content.size());
        frame.headroom = head;
        frame.tailroom = tail;
    }
    Bytes content() const { return Bytes(frame.data, frame.data + frame.bytes); }
    void check() const {
        SLUICE_CHECK(frame.dropped || (frame.data == bytes.data() + frame.headroom &&
                                       frame.headroom + frame.bytes + frame.tailroom ==
                                           bytes.size()));
    }

    Bytes bytes;
    Frame frame;
};

class Wire {
  public:
    explicit Wire(std::uint8_t how)
        : policy_(how % protection_policies().size()),
          format_(kFormats[how / 8 % std::size(kFormats)]),
          protection_(*make_protection(protection_policies()[policy_].name, {}, format_)) {}

    void step(Script& script);
    bool is_fruitful() const { return opened_ != 0; }

  private:
    bool is_encrypted() const {
        return std::holds_alternative<AesGcmOpener>(protection_.opener);
    }
    Bytes pdu(Script& script) const;
    void rekey(Script& script);
    void seal(Script& script);
    void open(Script& script);

    std::size_t policy_;
    rina::PciFormat format_;
    Protection protection_;
    Instant now_{1};
    std::uint16_t epoch_ = 0;
    struct Sealed {
        Bytes pdu, frame;
    };
    std::vector<Sealed> sealed_;
    std::set<std::string> came_;
    std::size_t opened_ = 0;
};

Bytes Wire::pdu(Script& script) const {
    const std::uint8_t how = script.byte();
    const auto payload = script.piece(how % 64);
    if (how >= 0xf0) return Bytes(payload.begin(), payload.end());  // none at all
    Bytes pdu(format_.bytes() + payload.size());
    std::copy(payload.begin(), payload.end(), pdu.begin() + static_cast<long>(format_.bytes()));
    rina::Pci pci;
    pci.ttl = static_cast<std::uint16_t>(script.byte());
    pci.length = static_cast<std::uint32_t>(pdu.size());
    rina::write(pci, format_, pdu.data());
    return pdu;
}

void Wire::rekey(Script& script) {
    const std::uint8_t how = script.byte();
    std::array<std::byte, 32> secret{}, context{};
    secret[0] = std::byte{7};
    if (!is_encrypted()) return;
    AesGcmSealer& sealer = std::get<AesGcmSealer>(protection_.sealer);
    AesGcmOpener& opener = std::get<AesGcmOpener>(protection_.opener);
    const KeyEpoch epoch{static_cast<std::uint16_t>(epoch_ + how / 8 % 4)};
    const Cipher cipher = protection_policies()[policy_].name == "aes-128-gcm"
                              ? Cipher::aes_128_gcm
                              : Cipher::aes_256_gcm;
    const auto keys = derive_keys(cipher, secret, context, epoch);
    SLUICE_CHECK(keys.has_value());
    // An epoch is used once: nonces would come again.
    if ((how & 1) != 0 && opener.install(epoch, keys->forward)) epoch_ = epoch.value;
    if ((how & 2) != 0 && sealer.install(epoch, keys->forward)) epoch_ = epoch.value;
    if ((how & 4) != 0) now_ = now_ + Duration::seconds(3);
}

void Wire::seal(Script& script) {
    const Bytes content = pdu(script);
    const std::uint8_t room = script.byte();
    Buffer buffer(content, room % 32, room / 8);
    buffer.frame.relayed = room == 255;
    sdup::seal(protection_.sealer, now_, std::span(&buffer.frame, 1));
    buffer.check();
    if (buffer.frame.dropped) return;
    const Overhead more = overhead(protection_.sealer);
    SLUICE_CHECK(buffer.frame.bytes == content.size() + more.head + more.tail);
    // The checksum and a limit of hops are written into the PDU.
    sealed_.push_back({is_encrypted() ? content : buffer.content(), buffer.content()});
    if (sealed_.size() > 16) sealed_.erase(sealed_.begin());
}

void Wire::open(Script& script) {
    if (sealed_.empty()) return;
    const Sealed& from = sealed_[script.byte() % sealed_.size()];
    Bytes frame = from.frame;
    const std::uint8_t how = script.byte();
    const std::size_t at = script.word() % (frame.size() + 1);
    if (how % 4 == 1 && at < frame.size()) frame[at] ^= static_cast<std::byte>(how | 1);
    if (how % 4 == 2) frame.resize(at);
    if (how % 4 == 3) frame.insert(frame.end(), how / 4, std::byte{0});  // padding
    Buffer buffer(frame, 0, 0);
    sdup::open(protection_.opener, now_, std::span(&buffer.frame, 1));
    buffer.check();
    if (buffer.frame.dropped) return;
    ++opened_;
    SLUICE_CHECK(buffer.frame.bytes <= frame.size());
    if (!is_encrypted()) return;
    // Nothing but what was sealed, and that once.
    const Bytes opened = buffer.content();
    SLUICE_CHECK(opened == from.pdu);
    // As text: GCC 12 warns of what std::less of vectors of bytes might compare.
    const auto* const text = reinterpret_cast<const char*>(from.frame.data());
    SLUICE_CHECK(came_.emplace(text, from.frame.size()).second);
}

void Wire::step(Script& script) {
    switch (script.byte() % 4) {
        case 0: return rekey(script);
        case 1: return seal(script);
        case 2: return open(script);
        default: {  // what nobody sealed
            const auto piece = script.piece(script.byte());
            Buffer buffer(Bytes(piece.begin(), piece.end()), 0, 0);
            sdup::open(protection_.opener, now_, std::span(&buffer.frame, 1));
            buffer.check();
            SLUICE_CHECK(buffer.frame.dropped || !is_encrypted());
        }
    }
}

// ---- delimiting --------------------------------------------------------------------------------

using namespace sluice::efcp;

constexpr Reassembler::Limits kLimits{1000, 8};

class Parts {
  public:
    void step(Script& script);
    void end();
    bool is_fruitful() const { return whole_ != 0; }

  private:
    void feed(const Bytes& user_data, std::uint32_t bytes);
    void take();
    void send(Script& script);
    void join(Script& script);

    Reassembler reassembler_{kLimits};
    std::uint64_t sequence_ = 0;
    std::uintptr_t next_token_ = 1;
    std::set<PduToken> inside_;
    // Of the fragmenter, in order; what is got of the SDU under way.
    std::vector<std::uint32_t> expected_;
    std::size_t whole_ = 0;
    std::uint32_t got_bytes_ = 0;
};

void Parts::feed(const Bytes& user_data, std::uint32_t bytes) {
    const PduToken token{next_token_++};
    inside_.insert(token);
    reassembler_.on_pdu(sequence_++, token, user_data, bytes);
    take();
}

// Each token comes out once, and not before its last piece.
void Parts::take() {
    while (const auto piece = reassembler_.take_piece()) {
        SLUICE_CHECK(inside_.contains(piece->token));
        got_bytes_ += piece->bytes;
        SLUICE_CHECK(got_bytes_ <= kLimits.sdu_bytes_max);
        if (piece->ends_sdu) {
            ++whole_;
            if (!expected_.empty()) {
                SLUICE_CHECK(got_bytes_ == expected_.front());
                expected_.erase(expected_.begin());
            }
            got_bytes_ = 0;
        }
        if (piece->is_last_of_token) inside_.erase(piece->token);
    }
    SLUICE_CHECK(got_bytes_ == 0);
    while (const auto dropped = reassembler_.take_dropped())
        SLUICE_CHECK(inside_.erase(dropped->token) == 1);
    SLUICE_CHECK(inside_.size() == reassembler_.held_parts());
    SLUICE_CHECK(reassembler_.held_parts() <= kLimits.parts_max);
    SLUICE_CHECK(reassembler_.held_bytes() < kLimits.sdu_bytes_max);
}

// An SDU as our fragmenter cuts it, with nothing missing: it comes out whole.
void Parts::send(Script& script) {
    const std::uint32_t bytes = script.word() % 1200;
    const std::uint32_t pdu_bytes = 6u + script.byte();
    const bool fits = bytes <= kLimits.sdu_bytes_max &&
                      Fragmenter::count(bytes, pdu_bytes) <= kLimits.parts_max;
    if (fits) expected_ = {bytes};
    Fragmenter fragmenter(bytes, pdu_bytes);
    std::uint32_t count = 0;
    for (auto part = fragmenter.next(); part; part = fragmenter.next(), ++count) {
        Bytes user_data(part->header.begin(), part->header.begin() + part->header_bytes);
        // Only the head need be there.
        const auto size = static_cast<std::uint32_t>(user_data.size() + part->bytes);
        SLUICE_CHECK(size <= pdu_bytes);
        user_data.resize(std::min<std::size_t>(size, Reassembler::kHeadBytes));
        feed(user_data, size);
    }
    SLUICE_CHECK(count == Fragmenter::count(bytes, pdu_bytes));
    SLUICE_CHECK(expected_.empty());
}

void Parts::join(Script& script) {
    Bytes user_data(script.byte());
    Concatenator concatenator(user_data);
    for (int i = script.byte() % 12; i > 0; --i) {
        const auto sdu = script.piece(script.byte() % 32);
        if (concatenator.add(sdu)) expected_.push_back(static_cast<std::uint32_t>(sdu.size()));
    }
    if (concatenator.count() == 0) return;
    user_data.resize(concatenator.bytes());
    const bool fits = concatenator.count() <= kLimits.parts_max;
    if (!fits) expected_.clear();
    feed(user_data, concatenator.bytes());
    SLUICE_CHECK(expected_.empty());
}

void Parts::step(Script& script) {
    switch (script.byte() % 8) {
        case 0: sequence_ += script.byte(); return;
        case 1: return send(script);
        case 2: return join(script);
        case 3: {  // the beginning of an SDU, as long as it likes
            Bytes user_data{std::byte{delimiter::kFirst}};
            const std::uint64_t length = script.number();
            for (unsigned i = 0; i < 4; ++i)
                user_data.push_back(static_cast<std::byte>(length >> (8 * i)));
            return feed(user_data, 5u + script.byte());
        }
        default: {
            const std::uint8_t how = script.byte();
            Bytes user_data;
            if (how % 4 != 0) {
                constexpr std::uint8_t kKinds[] = {delimiter::kMiddle, delimiter::kLast,
                                                   delimiter::kWhole, delimiter::kSeveral};
                user_data.push_back(static_cast<std::byte>(kKinds[how / 4 % 4]));
            }
            const auto piece = script.piece(how % 16);
            user_data.insert(user_data.end(), piece.begin(), piece.end());
            const bool is_several =
                !user_data.empty() && user_data[0] == std::byte{delimiter::kSeveral};
            const auto size = static_cast<std::uint32_t>(user_data.size());
            // More than is here, where that may be.
            const std::uint32_t more = size >= Reassembler::kHeadBytes && !is_several
                                           ? script.byte()
                                           : 0u;
            return feed(user_data, size + more);
        }
    }
}

void Parts::end() {
    reassembler_.abandon();
    take();
    SLUICE_CHECK(inside_.empty());
}

}  // namespace

bool sdu_protection(std::span<const std::byte> bytes) {
    Script script(bytes);
    Wire wire(script.byte());
    while (!script.at_end()) wire.step(script);
    return wire.is_fruitful();
}

bool reassembler(std::span<const std::byte> bytes) {
    Script script(bytes);
    Parts parts;
    while (!script.at_end()) parts.step(script);
    parts.end();
    return parts.is_fruitful();
}

}  // namespace sluice::fuzz
