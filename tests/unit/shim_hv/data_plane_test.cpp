#include <array>
#include <catch2/catch.hpp>

#include "../bytes.hpp"
#include "shim_hv/core/data_plane.hpp"

using namespace sluice;
using namespace sluice::shim_hv;
using rina::vmpi::channel_word;
using rina::vmpi::Profile;
using sluice::test::Bytes;

namespace {

constexpr Instant kStart = Instant{1000000000};

Bytes frame_of(std::uint32_t word, std::size_t size) {
    Bytes frame(std::max<std::size_t>(size, 4));
    rina::vmpi::store_le32(frame.data(), word);
    frame.resize(size);
    return frame;
}

Verdict classify(VmpiData& data, const Bytes& frame) {
    return data.classify(frame.data(), static_cast<std::uint32_t>(frame.size()));
}

VmpiData::Params small_params(Profile profile) {
    VmpiData::Params params;
    params.profile = profile;
    params.max_channels = 8;
    params.max_sdu_rx = 1500;
    params.max_sdu_tx = 1400;
    return params;
}

AgreedLimits limits() {
    AgreedLimits l;
    l.max_sdu_rx = 1500;
    l.max_sdu_tx = 1400;
    l.max_channels = 8;
    l.credit_unit = 1024;
    l.version = 1;
    return l;
}

// Two data planes that have confirmed each other, with channel 3 bound at both.
struct Couple {
    VmpiData a{small_params(Profile::sluice)};
    VmpiData b{small_params(Profile::sluice)};
    explicit Couple(std::uint64_t window) {
        a.set_epochs({1, 2, limits()});
        b.set_epochs({2, 1, limits()});
        a.bind({3, 5, FlowHandle(1), 77, window});
        b.bind({3, 5, FlowHandle(1), 78, window});
    }
    static std::size_t exchange(VmpiData& from, VmpiData& to, Instant now) {
        std::array<VmpiData::CreditFrame, 4> frames;
        const std::size_t count = from.collect_due(now, frames);
        for (std::size_t i = 0; i < count; ++i) {
            const std::span<const std::byte> message =
                std::span<const std::byte>(frames[i].bytes).subspan(4, frames[i].size - 4);
            REQUIRE(to.is_credit(message));
            CHECK(to.on_credit_message(message) == VmpiDrop::none);
        }
        return count;
    }
};

}  // namespace

TEST_CASE("every frame that is not for a bound channel has its reason", "[demux]") {
    VmpiData data(small_params(Profile::sluice));
    data.set_epochs({1, 2, limits()});
    data.bind({3, 5, FlowHandle(1), 77, 64});
    data.grant({3, 5});
    std::array<VmpiData::CreditFrame, 4> frames;
    REQUIRE(data.collect_due(kStart, frames) == 1);

    const Verdict good = classify(data, frame_of(channel_word(3, 5), 100));
    CHECK(good.kind == VerdictKind::data);
    CHECK(good.channel == 3);
    CHECK(good.sdu_len == 96);
    CHECK(good.cookie == 77);
    CHECK(classify(data, frame_of(channel_word(3, 5), 14)).sdu_len == 10);
    CHECK(classify(data, frame_of(0, 28)).kind == VerdictKind::control);
    CHECK(classify(data, frame_of(0, 28)).sdu_len == 24);

    const auto reason = [&](std::uint32_t word, std::size_t size) {
        const Verdict verdict = classify(data, frame_of(word, size));
        CHECK(verdict.kind == VerdictKind::drop);
        return verdict.reason;
    };
    for (std::size_t size = 0; size < 4; ++size)
        CHECK(reason(channel_word(3, 5), size) == VmpiDrop::short_frame);
    CHECK(reason(channel_word(3, 5), 13) == VmpiDrop::short_frame);
    CHECK(reason(channel_word(3, 4), 100) == VmpiDrop::stale_generation);
    CHECK(reason(channel_word(4, 5), 100) == VmpiDrop::not_allocated);
    CHECK(reason(channel_word(9, 5), 100) == VmpiDrop::unknown_channel);
    CHECK(reason(channel_word(0xffffff, 0x7f), 100) == VmpiDrop::unknown_channel);
    CHECK(reason(0xffffffff, 14) == VmpiDrop::unknown_channel);
    CHECK(reason(0xffffffff, 100) == VmpiDrop::malformed_short);
    CHECK(reason(channel_word(0, 5), 100) == VmpiDrop::unknown_channel);
    CHECK(reason(channel_word(3, 5), 1505) == VmpiDrop::oversized);
    CHECK(classify(data, frame_of(channel_word(3, 5), 1504)).kind == VerdictKind::data);
    data.unbind({3, 4, FlowHandle(1)});
    CHECK(classify(data, frame_of(channel_word(3, 5), 100)).kind == VerdictKind::data);
    data.unbind({3, 5, FlowHandle(1)});
    CHECK(reason(channel_word(3, 5), 100) == VmpiDrop::not_allocated);
}

TEST_CASE("short frames carry 0 to 9 bytes and nothing else", "[demux]") {
    VmpiData data(small_params(Profile::sluice));
    data.set_epochs({1, 2, limits()});
    data.bind({3, 5, FlowHandle(1), 77, 64});
    data.grant({3, 5});
    std::array<VmpiData::CreditFrame, 4> frames;
    data.collect_due(kStart, frames);
    for (std::uint32_t len = 0; len < 256; ++len) {
        Bytes frame = frame_of(channel_word(3, 5) | rina::vmpi::kShortBit, 14);
        frame[13] = static_cast<std::byte>(len);
        const Verdict verdict = classify(data, frame);
        if (len <= 9) {
            CHECK(verdict.kind == VerdictKind::data);
            CHECK(verdict.sdu_len == len);
        } else {
            CHECK(verdict.reason == VmpiDrop::malformed_short);
        }
        frame.push_back(std::byte{0});
        CHECK(classify(data, frame).reason == VmpiDrop::malformed_short);
    }
}

TEST_CASE("in profile irati the word is the channel", "[demux][irati]") {
    VmpiData data(small_params(Profile::irati));
    data.set_epochs({0, 0, limits()});
    data.bind({3, 0, FlowHandle(1), 77, 64});
    CHECK(classify(data, frame_of(3, 4)).kind == VerdictKind::data);
    CHECK(classify(data, frame_of(3, 4)).sdu_len == 0);
    CHECK(classify(data, frame_of(0x01000003, 40)).reason == VmpiDrop::unknown_channel);
    CHECK(classify(data, frame_of(0xffffffff, 40)).reason == VmpiDrop::unknown_channel);
    CHECK(classify(data, frame_of(0, 9)).kind == VerdictKind::control);
    CHECK(data.submit(3, 10, kStart) == VmpiData::Submit::ok);
    CHECK(data.submit(3, 9, kStart) == VmpiData::Submit::too_short);
    CHECK(data.submit(3, 1401, kStart) == VmpiData::Submit::too_long);
    CHECK(data.submit(2, 10, kStart) == VmpiData::Submit::not_bound);
    CHECK(data.next_deadline().is_never());
    Bytes frame(14);
    data.seal(frame.data(), 3, 10);
    CHECK(rina::vmpi::load_le32(frame.data()) == 3);
}

TEST_CASE("credit: nothing before the grant, the window after it", "[credit]") {
    Couple c(4);
    CHECK(c.a.submit(3, 100, kStart) == VmpiData::Submit::no_credit);
    c.b.grant({3, 5});
    CHECK(c.b.next_deadline() == Instant::zero());
    REQUIRE(Couple::exchange(c.b, c.a, kStart) == 1);
    for (int i = 0; i < 4; ++i) CHECK(c.a.submit(3, 100, kStart) == VmpiData::Submit::ok);
    CHECK(c.a.submit(3, 100, kStart) == VmpiData::Submit::no_credit);
    const Bytes frame = frame_of(channel_word(3, 5), 104);
    for (int i = 0; i < 4; ++i) CHECK(classify(c.b, frame).kind == VerdictKind::data);
    CHECK(classify(c.b, frame).reason == VmpiDrop::credit_overrun);
    c.b.on_consumed(3, 100);
    CHECK(Couple::exchange(c.b, c.a, kStart) == 0);  // half the window first
    c.b.on_consumed(3, 100);
    CHECK(Couple::exchange(c.b, c.a, kStart) == 1);
    CHECK(c.a.has_credit(3, 1020));
    CHECK(c.a.has_credit(3, 1400));
    CHECK(c.a.submit(3, 1400, kStart) == VmpiData::Submit::ok);  // two units
    CHECK_FALSE(c.a.has_credit(3, 0));
    c.a.unsubmit(3, 1400);
    CHECK(c.a.has_credit(3, 1400));
}

TEST_CASE("credit: a sender that waits asks, and what was lost is settled", "[credit]") {
    Couple c(4);
    c.b.grant({3, 5});
    Couple::exchange(c.b, c.a, kStart);
    for (int i = 0; i < 4; ++i) c.a.submit(3, 100, kStart);  // all four are lost
    CHECK(c.a.submit(3, 100, kStart) == VmpiData::Submit::no_credit);
    CHECK(c.a.next_deadline() == kStart + Duration::milliseconds(20));
    CHECK(Couple::exchange(c.a, c.b, kStart + Duration::milliseconds(19)) == 0);
    CHECK(Couple::exchange(c.a, c.b, kStart + Duration::milliseconds(20)) == 1);
    CHECK(c.a.next_deadline() == kStart + Duration::milliseconds(60));
    CHECK(Couple::exchange(c.b, c.a, kStart + Duration::milliseconds(20)) == 1);
    CHECK(c.b.entry(3).receiver.lost() == 4);
    CHECK(c.a.submit(3, 100, kStart) == VmpiData::Submit::ok);
    CHECK(Couple::exchange(c.a, c.b, kStart + Duration::seconds(9)) == 0);
    CHECK(c.a.next_deadline().is_never());
}

TEST_CASE("credit: messages of another epoch or generation change nothing", "[credit]") {
    Couple c(4);
    c.b.grant({3, 5});
    const auto tell_a = [&](std::uint64_t epoch, std::uint64_t peer, std::uint32_t channel,
                            std::uint8_t generation, rina::vmpi::Type type, std::uint64_t units) {
        rina::vmpi::Message m;
        m.type = type;
        m.epoch = epoch;
        m.peer_epoch = peer;
        m.channel = channel;
        m.generation = generation;
        m.units = units;
        std::array<std::byte, 37> bytes{};
        const std::size_t size = rina::vmpi::encode(m, bytes);
        return c.a.on_credit_message(std::span(bytes).first(size));
    };
    using rina::vmpi::Type;
    CHECK(tell_a(3, 1, 3, 5, Type::credit, 9) == VmpiDrop::stale_control);
    CHECK(tell_a(2, 3, 3, 5, Type::credit, 9) == VmpiDrop::stale_control);
    CHECK(tell_a(2, 1, 4, 5, Type::credit, 9) == VmpiDrop::not_allocated);
    CHECK(tell_a(2, 1, 9, 5, Type::credit, 9) == VmpiDrop::unknown_channel);
    CHECK(tell_a(2, 1, 0, 5, Type::credit, 9) == VmpiDrop::unknown_channel);
    CHECK(tell_a(2, 1, 3, 6, Type::credit, 9) == VmpiDrop::stale_generation);
    CHECK_FALSE(c.a.has_credit(3, 0));
    CHECK(tell_a(2, 1, 3, 5, Type::credit, ~0ull) == VmpiDrop::none);
    CHECK(tell_a(2, 1, 3, 5, Type::credit, 1) == VmpiDrop::none);
    CHECK(c.a.has_credit(3, 1400));
    // It was granted nothing yet, so it cannot have sent anything.
    CHECK(tell_a(2, 1, 3, 5, Type::credit_probe, 1) == VmpiDrop::bad_credit);
    CHECK(tell_a(2, 1, 3, 5, Type::credit_probe, ~0ull) == VmpiDrop::bad_credit);
    CHECK(tell_a(2, 1, 3, 5, Type::keepalive, 0) == VmpiDrop::bad_control);
    c.a.set_epochs({1, 0, {}});
    CHECK(tell_a(2, 1, 3, 5, Type::credit, 9) == VmpiDrop::device_down);
}

TEST_CASE("credit: a new use of the channel starts from nothing", "[credit]") {
    Couple c(4);
    c.b.grant({3, 5});
    Couple::exchange(c.b, c.a, kStart);
    c.a.submit(3, 100, kStart);
    c.a.unbind({3, 5, FlowHandle(1)});
    CHECK(c.a.submit(3, 100, kStart) == VmpiData::Submit::not_bound);
    c.a.bind({3, 6, FlowHandle(2), 1, 4});
    CHECK(c.a.submit(3, 100, kStart) == VmpiData::Submit::no_credit);
    CHECK(c.a.entry(3).sender.sent() == 0);
    c.a.bind({99, 6, FlowHandle(2), 1, 4});  // outside of the table: ignored
    c.a.on_consumed(99, 1);
    CHECK_FALSE(c.a.has_credit(99, 1));
    CHECK(c.a.data_word(99) == 0);
}

TEST_CASE("collect_due says no more than there is room for, and the rest later", "[credit]") {
    VmpiData data(small_params(Profile::sluice));
    data.set_epochs({1, 2, limits()});
    for (std::uint32_t channel = 1; channel <= 8; ++channel) {
        data.bind({channel, 1, FlowHandle(channel), 0, 4});
        data.grant({channel, 1});
        data.submit(channel, 10, kStart);
    }
    std::array<VmpiData::CreditFrame, 3> frames;
    std::size_t total = 0;
    for (std::size_t n = 3; n == 3; total += n)
        n = data.collect_due(kStart + Duration::milliseconds(20), frames);
    CHECK(total == 16);
    CHECK(data.next_deadline() == kStart + Duration::milliseconds(60));
}
