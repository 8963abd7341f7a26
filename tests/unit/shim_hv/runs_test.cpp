#include <array>
#include <catch2/catch.hpp>

#include "shim_hv/core/data_plane.hpp"

// What the packet path does with many frames of a channel at once, and what a receiver believes of
// its sender. By one frame at a time: data_plane_test.cpp.

using namespace sluice;
using namespace sluice::shim_hv;
using rina::vmpi::channel_word;
using rina::vmpi::Profile;
using Submit = VmpiData::Submit;

namespace {

constexpr Instant kStart = Instant{1000000000};
constexpr std::uint32_t kWord = channel_word(3, 5);

VmpiData data_of(Profile profile) {
    VmpiData::Params params;
    params.profile = profile;
    params.max_channels = 8;
    params.max_sdu_rx = 1500;
    params.max_sdu_tx = 1400;
    return VmpiData(params);
}

AgreedLimits limits() {
    AgreedLimits l;
    l.max_sdu_rx = 1500;
    l.max_sdu_tx = 1400;
    l.max_channels = 8;
    l.credit_unit = 1024;
    return l;
}

// A sender and a receiver with a window of 8 units on channel 3, all of it granted.
struct Granted {
    VmpiData tx = data_of(Profile::sluice);
    VmpiData rx = data_of(Profile::sluice);

    Granted() {
        tx.set_epochs({1, 2, limits()});
        rx.set_epochs({2, 1, limits()});
        tx.bind({3, 5, FlowHandle(1), 77, 8});
        rx.bind({3, 5, FlowHandle(1), 78, 8});
        rx.grant({3, 5});
        REQUIRE(tell() == 1);
    }
    // Credits from the receiver to the sender: how many there were.
    std::size_t tell() {
        std::array<VmpiData::CreditFrame, 4> frames;
        const std::size_t count = rx.collect_due(kStart, frames);
        for (std::size_t i = 0; i < count; ++i) {
            std::uint32_t about = 0;
            const auto message =
                std::span<const std::byte>(frames[i].bytes).subspan(4, frames[i].size - 4);
            CHECK(tx.on_credit_message(message, &about) == VmpiDrop::none);
            CHECK(about == 3);
        }
        return count;
    }
    VmpiDrop probe(std::uint64_t sent) {
        rina::vmpi::Message m;
        m.type = rina::vmpi::Type::credit_probe;
        m.epoch = 1;
        m.peer_epoch = 2;
        m.channel = 3;
        m.generation = 5;
        m.units = sent;
        std::array<std::byte, 37> bytes{};
        return rx.on_credit_message(std::span(bytes).first(rina::vmpi::encode(m, bytes)));
    }
    std::uint64_t sent() const { return tx.entry(3).sender.sent(); }
    std::uint64_t received() const { return rx.entry(3).receiver.received(); }
};

}  // namespace

TEST_CASE("a run is charged as a whole or not at all", "[credit]") {
    Granted g;
    CHECK(g.tx.submit_run(3, 5, 1400));
    CHECK_FALSE(g.tx.submit_run(3, 4, 1400));
    CHECK(g.sent() == 5);
    CHECK_FALSE(g.tx.submit_run(3, 1, 1401));
    CHECK_FALSE(g.tx.submit_run(4, 1, 10));
    CHECK_FALSE(g.tx.submit_run(9, 1, 10));
    CHECK_FALSE(g.tx.submit_run(0, 1, 10));
    CHECK(g.sent() == 5);
    CHECK(g.tx.submit_run(3, 3, 1400));
    CHECK(g.tx.submit(3, 10, kStart) == Submit::no_credit);
    g.tx.unbind({3, 5, FlowHandle(1)});
    CHECK_FALSE(g.tx.submit_run(3, 0, 10));
}

TEST_CASE("a run is received as a whole or looked at frame by frame", "[credit]") {
    Granted g;
    const VmpiData::Run run = g.rx.classify_run(kWord, 5, 1500);
    CHECK(run.channel == 3);
    CHECK(run.cookie == 78);
    CHECK(g.received() == 5);
    CHECK(g.rx.classify_run(kWord, 4, 1500).channel == 0);  // one more than was granted
    CHECK(g.rx.classify_run(kWord, 1, 1501).channel == 0);
    CHECK(g.rx.classify_run(channel_word(3, 6), 1, 100).channel == 0);
    CHECK(g.rx.classify_run(channel_word(4, 5), 1, 100).channel == 0);
    CHECK(g.rx.classify_run(channel_word(9, 5), 1, 100).channel == 0);
    CHECK(g.rx.classify_run(kWord | rina::vmpi::kShortBit, 1, 100).channel == 0);
    CHECK(g.rx.classify_run(0, 1, 100).channel == 0);
    CHECK(g.received() == 5);
    CHECK(g.rx.classify_run(kWord, 3, 1500).channel == 3);
}

TEST_CASE("runs where there are no credits", "[credit][irati]") {
    VmpiData data = data_of(Profile::irati);
    data.bind({3, 0, FlowHandle(1), 77, 8});
    CHECK_FALSE(data.has_credits());
    CHECK(data.classify_run(3, 1000, 1500).channel == 3);
    // Each is asked for by itself, since some may be too short.
    CHECK_FALSE(data.submit_run(3, 1, 100));
    CHECK(data.has_credit(3, 1400));
    CHECK(data.frame_bytes(10) == 14);
    CHECK(data.frame_bytes(0) == 4);
    // And nobody tells of credits.
    data.grant({3, 0});
    data.on_consumed(3, 100);
    data.on_consumed_total(3, 1);
    data.unsubmit(3, 100);
    CHECK(data.next_deadline().is_never());
}

TEST_CASE("reports of what was consumed are absolute", "[credit]") {
    Granted g;
    REQUIRE(g.rx.classify_run(kWord, 8, 1500).channel == 3);
    g.rx.on_consumed_total(3, 3);
    CHECK(g.tell() == 0);  // less than half a window
    g.rx.on_consumed_total(3, 4);
    g.rx.on_consumed_total(3, 2);  // came late
    CHECK(g.tell() == 1);
    CHECK(g.tx.entry(3).sender.limit() == 12);
    g.rx.on_consumed_total(3, 1000);  // no more than came
    CHECK(g.tell() == 1);
    CHECK(g.tx.entry(3).sender.limit() == 16);
    CHECK(g.rx.entry(3).receiver.held() == 0);
    // Of flows that there are not.
    g.rx.on_consumed_total(4, 5);
    g.rx.on_consumed_total(99, 5);
    g.rx.on_consumed(4, 5);
    CHECK(g.rx.next_deadline().is_never());
}

TEST_CASE("who claims losses that were none has no more memory of ours for it", "[credit]") {
    Granted g;
    CHECK(g.probe(8) == VmpiDrop::none);  // nothing came
    CHECK(g.rx.lost_units() == 8);
    CHECK(g.tell() == 1);
    CHECK(g.tx.entry(3).sender.limit() == 16);
    // It all comes after all.
    REQUIRE(g.rx.classify_run(kWord, 8, 1500).channel == 3);
    CHECK(g.probe(9) == VmpiDrop::none);
    CHECK(g.rx.entry(3).receiver.lost() == 1);
    CHECK(g.rx.lost_units() == 8);
    // Within what was granted, and the window is full.
    std::array<std::byte, 104> frame{};
    rina::vmpi::store_le32(frame.data(), kWord);
    CHECK(g.rx.classify_run(kWord, 1, 100).channel == 0);
    CHECK(g.rx.classify(frame.data(), frame.size()).reason == VmpiDrop::credit_overrun);
    CHECK(g.rx.entry(3).receiver.overrun() == 1);
    CHECK(g.rx.entry(3).receiver.held() == g.rx.entry(3).receiver.window());
    CHECK(g.probe(17) == VmpiDrop::bad_credit);  // it was granted 16
}

TEST_CASE("a grant for another use of the channel opens nothing", "[credit]") {
    VmpiData data = data_of(Profile::sluice);
    data.set_epochs({1, 2, limits()});
    data.bind({3, 5, FlowHandle(1), 77, 8});
    data.grant({3, 4});
    data.grant({4, 5});
    data.grant({99, 5});
    CHECK(data.next_deadline().is_never());
    CHECK_FALSE(data.entry(3).receiver.started());
    data.grant({3, 5});
    CHECK(data.next_deadline() == Instant::zero());
    data.grant({3, 5});  // said once, however often
    std::array<VmpiData::CreditFrame, 4> frames;
    CHECK(data.collect_due(kStart, frames) == 1);
    CHECK(data.collect_due(kStart, frames) == 0);
}

TEST_CASE("a flow that ends while it waits, for a grant or for credit, says nothing more",
          "[credit]") {
    VmpiData data = data_of(Profile::sluice);
    data.set_epochs({1, 2, limits()});
    data.bind({3, 5, FlowHandle(1), 77, 8});
    data.grant({3, 5});
    CHECK(data.submit(3, 100, kStart) == Submit::no_credit);
    CHECK(data.submit(3, 100, kStart) == Submit::no_credit);
    data.unbind({3, 5, FlowHandle(1)});
    data.unbind({3, 5, FlowHandle(1)});
    data.unsubmit(3, 100);
    CHECK_FALSE(data.has_credit(3, 0));
    std::array<VmpiData::CreditFrame, 4> frames;
    CHECK(data.collect_due(kStart + Duration::seconds(2), frames) == 0);
    CHECK(data.next_deadline().is_never());
}

TEST_CASE("credit messages before there is a peer, and what is none", "[credit]") {
    VmpiData data = data_of(Profile::sluice);
    rina::vmpi::Message m;
    m.type = rina::vmpi::Type::credit;
    m.epoch = 2;
    m.peer_epoch = 1;
    m.channel = 3;
    std::array<std::byte, 37> bytes{};
    REQUIRE(rina::vmpi::encode(m, bytes) == bytes.size());
    CHECK(data.is_credit(bytes));
    CHECK(data.on_credit_message(bytes) == VmpiDrop::device_down);
    CHECK_FALSE(data.is_credit({}));
    CHECK(data.on_credit_message({}) == VmpiDrop::bad_control);
    CHECK(data.on_credit_message(std::span(bytes).first(36)) == VmpiDrop::bad_control);
    CHECK_FALSE(data_of(Profile::irati).is_credit(bytes));
    // Nothing agreed, nothing sent.
    data.bind({3, 5, FlowHandle(1), 77, 8});
    data.on_consumed(3, 10);
    data.unsubmit(3, 10);
    CHECK_FALSE(data.submit_run(3, 1, 10));
    CHECK(data.max_sdu_tx() == 1400);
    CHECK(data.max_sdu_rx() == 1500);
    CHECK(data.max_channels() == 8);
}

TEST_CASE("what was agreed beyond what was configured does not count", "[credit]") {
    VmpiData data = data_of(Profile::sluice);
    AgreedLimits more = limits();
    more.max_sdu_rx = 9000;
    more.max_sdu_tx = 1000;
    data.set_epochs({1, 2, more});
    CHECK(data.max_sdu_rx() == 1500);
    CHECK(data.max_sdu_tx() == 1000);
    more.credit_unit = 1000;  // no power of two
    data.set_epochs({1, 2, more});
    CHECK_FALSE(data.has_credits());
}
