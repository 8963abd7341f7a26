#include "ipc_api/flow_socket.hpp"

#include <poll.h>
#include <rina/api.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

using namespace sluice;
using namespace sluice::ipc_api;

namespace {

using State = FlowSocket::State;

// Both ends of a flow, and buffers for what is read from it.
struct Ends {
    explicit Ends(std::uint32_t max_sdu, std::size_t burst = 8) : ours(make(max_sdu, app)) {
        bytes.resize(burst * ours.max_sdu());
        for (std::size_t i = 0; i < burst; ++i)
            slots.push_back({bytes.data() + i * ours.max_sdu(), ours.max_sdu(), 0});
    }

    static FlowSocket make(std::uint32_t max_sdu, OwnedFd& app) {
        FlowSocketOptions options;
        options.max_sdu = max_sdu;
        auto made = FlowSocket::open(options, app);
        REQUIRE(made);
        return std::move(*made);
    }

    // As the application does.
    void app_writes(std::string_view text) {
        REQUIRE(::write(app.get(), text.data(), text.size()) ==
                static_cast<ssize_t>(text.size()));
    }
    std::string app_reads() {
        std::string text(100001, '\0');
        const ssize_t size = ::recv(app.get(), text.data(), text.size(), MSG_DONTWAIT);
        if (size < 0) return "errno " + std::to_string(errno);
        text.resize(static_cast<std::size_t>(size));
        return text;
    }
    // What we read, put together.
    std::vector<std::string> read() {
        std::vector<std::string> texts;
        const std::size_t count = ours.read(slots);
        for (std::size_t i = 0; i < count; ++i)
            texts.emplace_back(reinterpret_cast<const char*>(slots[i].bytes), slots[i].length);
        return texts;
    }
    std::size_t write(const std::vector<std::string>& texts) {
        std::vector<iovec> sdus;
        for (const std::string& text : texts)
            sdus.push_back({const_cast<char*>(text.data()), text.size()});
        return ours.write(sdus);
    }

    OwnedFd app;
    FlowSocket ours;
    std::vector<std::byte> bytes;
    std::vector<FlowSocket::Slot> slots;
};

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("the longest SDU is the one that was asked for, where the kernel can be told") {
    const std::uint32_t max_sdu = GENERATE(4576u, 4577u, 4578u, 9000u, 9001u, 65000u, 100000u);
    Ends ends(max_sdu);
    const std::uint32_t got = ends.ours.max_sdu();
    CHECK(got <= max_sdu);
    CHECK(got + 1 >= max_sdu);  // the kernel counts in twos
    CHECK(rina_flow_mss_get(ends.app.get()) == got);
    std::string text(got + 1, 'x');
    CHECK(::write(ends.app.get(), text.data(), text.size()) == -1);
    CHECK(errno == EMSGSIZE);
    text.pop_back();
    ends.app_writes(text);
    CHECK(ends.read() == Texts{text});
    CHECK(ends.write({text}) == 1);
    CHECK(ends.app_reads() == text);
}

TEST_CASE("where the kernel cannot be told, one that is too long ends the flow") {
    Ends ends(1400);
    CHECK(ends.ours.max_sdu() == 1400);
    CHECK(rina_flow_mss_get(ends.app.get()) == 1400);
    const std::string longest(1400, 'x');
    ends.app_writes(longest);
    ends.app_writes(longest + "y");
    ends.app_writes("z");
    CHECK(ends.read() == Texts{longest});
    CHECK(ends.ours.state() == State::too_long);
    CHECK(ends.ours.counters().too_long == 1);
    CHECK(ends.ours.counters().discarded == 1);
    CHECK(ends.read().empty());
    ends.ours.finish();
    CHECK(ends.app_reads().empty());
    CHECK(::send(ends.app.get(), "x", 1, 0) == -1);
    CHECK(errno == EPIPE);
}

TEST_CASE("too long is too long, whatever room there is for it") {
    Ends ends(1400, 2);
    std::vector<std::byte> room(10000);
    FlowSocket::Slot slot = {room.data(), 10000, 0};
    ends.app_writes(std::string(1400, 'x'));
    CHECK(ends.ours.read({&slot, 1}) == 1);
    CHECK(slot.length == 1400);
    ends.app_writes(std::string(1401, 'x'));
    CHECK(ends.ours.read({&slot, 1}) == 0);
    CHECK(ends.ours.state() == State::too_long);
}

TEST_CASE("an application that lowers its buffer is told of a lower limit") {
    Ends ends(65000);
    const int small = 4000;
    REQUIRE(::setsockopt(ends.app.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    const unsigned mss = rina_flow_mss_get(ends.app.get());
    CHECK(mss == 8000 - 32);
    const std::string text(mss + 1, 'x');
    CHECK(::write(ends.app.get(), text.data(), text.size()) == -1);
    // And one that raises it is found out.
    const int large = 100000;
    REQUIRE(::setsockopt(ends.app.get(), SOL_SOCKET, SO_SNDBUF, &large, sizeof large) == 0);
    CHECK(rina_flow_mss_get(ends.app.get()) == 65000);
    ends.app_writes(std::string(65001, 'x'));
    CHECK(ends.read().empty());
    CHECK(ends.ours.state() == State::too_long);
}

TEST_CASE("bursts keep their order and their boundaries") {
    Ends ends(2000, 4);
    for (int i = 0; i < 10; ++i) ends.app_writes("number " + std::to_string(i));
    CHECK(ends.read() == Texts{"number 0", "number 1", "number 2", "number 3"});
    // As many as there is credit for.
    CHECK(ends.ours.read(std::span(ends.slots).first(1)) == 1);
    CHECK(ends.ours.read({}) == 0);
    CHECK(ends.read() == Texts{"number 5", "number 6", "number 7", "number 8"});
    CHECK(ends.read() == Texts{"number 9"});
    CHECK(ends.read().empty());
    CHECK(ends.ours.state() == State::open);
    Texts many;
    for (int i = 0; i < 150; ++i) many.push_back(std::to_string(i));
    CHECK(ends.write(many) == 150);
    for (int i = 0; i < 150; ++i) REQUIRE(ends.app_reads() == std::to_string(i));
    CHECK(ends.ours.counters().sdus_from_app == 10);
    CHECK(ends.ours.counters().bytes_from_app == 80);
    CHECK(ends.ours.counters().sdus_to_app == 150);
    CHECK(ends.ours.counters().bytes_to_app == 10 + 180 + 150);
}

TEST_CASE("a write of no bytes sends nothing, and is not the end") {
    Ends ends(2000);
    ends.app_writes("");
    ends.app_writes("a");
    ends.app_writes("");
    ends.app_writes("");
    ends.app_writes("b");
    CHECK(ends.read() == Texts{"a", "b"});
    ends.app_writes("");
    CHECK(ends.read().empty());
    CHECK(ends.ours.state() == State::open);
    CHECK(ends.ours.counters().empty_from_app == 4);
    CHECK(ends.write({"", "c", "", "", "d", ""}) == 6);
    CHECK(ends.app_reads() == "c");
    CHECK(ends.app_reads() == "d");
    CHECK(ends.app_reads() == "errno " + std::to_string(EAGAIN));
    CHECK(ends.ours.counters().empty_to_app == 4);
}

TEST_CASE("what was written before the close comes first") {
    const bool unread = GENERATE(false, true);
    const bool half = GENERATE(false, true);
    const std::size_t burst = GENERATE(2, 3);
    Ends ends(2000, burst);
    if (unread) REQUIRE(ends.write({"never read"}) == 1);
    for (const char* text : {"1", "2", "", "3"}) ends.app_writes(text);
    if (half)
        REQUIRE(::shutdown(ends.app.get(), SHUT_WR) == 0);
    else
        ends.app.reset();
    Texts all;
    for (int i = 0; i < 10 && ends.ours.state() == State::open; ++i)
        for (std::string& text : ends.read()) all.push_back(std::move(text));
    CHECK(all == Texts{"1", "2", "3"});
    CHECK(ends.ours.state() == State::closed_by_app);
    CHECK(ends.read().empty());
    CHECK(ends.write({"x", "y"}) == 2);
    CHECK(ends.ours.counters().discarded == (half ? 0 : 2));
    if (half) {
        if (unread) {
            CHECK(ends.app_reads() == "never read");
        }
        CHECK(ends.app_reads() == "x");
        CHECK(ends.app_reads() == "y");
        ends.ours.finish();
        CHECK(ends.app_reads().empty());
    }
}

TEST_CASE("the end of the peer comes behind all of its SDUs") {
    const bool destroy = GENERATE(false, true);
    const std::string unread = GENERATE("none", "some", "empty");
    {
        Ends ends(2000);
        REQUIRE(ends.write({"1", "2"}) == 2);
        if (unread == "some") ends.app_writes("too late");
        for (int i = 0; i < 3 && unread != "none"; ++i) ends.app_writes("");
        if (destroy)
            ends.ours = Ends::make(100, *std::make_unique<OwnedFd>());
        else
            ends.ours.finish();
        CHECK(::send(ends.app.get(), "x", 1, 0) == -1);  // and no SIGPIPE
        CHECK(errno == EPIPE);
        CHECK(ends.app_reads() == "1");
        CHECK(ends.app_reads() == "2");
        CHECK(ends.app_reads().empty());
        CHECK(ends.app_reads().empty());
        if (!destroy) {
            CHECK(ends.ours.state() == State::finished);
            CHECK(ends.ours.counters().discarded == (unread == "some" ? 1 : 0));
            CHECK(ends.write({"x"}) == 1);
            CHECK(ends.read().empty());
        }
    }
}

TEST_CASE("an application that does not read is waited for") {
    Ends ends(2000);
    const Texts one = {std::string(1000, 'x')};
    std::size_t sent = 0;
    while (ends.write(one) == 1) ++sent;
    CHECK(sent > 100);
    pollfd writable = {ends.ours.fd(), POLLOUT, 0};
    CHECK(::poll(&writable, 1, 0) == 0);
    CHECK(ends.write({"a", "b"}) == 0);
    for (std::size_t i = 0; i < sent; ++i) REQUIRE(ends.app_reads() == one[0]);
    CHECK(::poll(&writable, 1, 0) == 1);
    CHECK(ends.write({"a", "b"}) == 2);
    CHECK(ends.app_reads() == "a");
    CHECK(ends.ours.counters().discarded == 0);
}

TEST_CASE("an SDU that is longer than our own buffer is counted and passed over") {
    Ends ends(2000);
    CHECK(ends.write({"a", std::string(2u << 20, 'x'), "b"}) == 3);
    CHECK(ends.app_reads() == "a");
    CHECK(ends.app_reads() == "b");
    CHECK(ends.ours.counters().undeliverable == 1);
}

TEST_CASE("a worker drives it while the application blocks") {
    Ends ends(1400, 32);
    constexpr int kCount = 20000;
    std::thread application([&] {
        for (int i = 0; i < kCount; ++i)
            if (::write(ends.app.get(), &i, sizeof i) != sizeof i) return;
        for (int i = 0; i < kCount; ++i) {
            int got = -1;
            if (::read(ends.app.get(), &got, sizeof got) != sizeof got || got != i) return;
        }
        const int good = -2;
        [[maybe_unused]] const auto size = ::write(ends.app.get(), &good, sizeof good);
        ::shutdown(ends.app.get(), SHUT_RDWR);
    });
    std::vector<int> got;
    std::size_t back = 0;
    while (ends.ours.state() == State::open) {
        const bool full = got.size() >= kCount && back < kCount;
        pollfd ready = {ends.ours.fd(), static_cast<short>(full ? POLLIN | POLLOUT : POLLIN), 0};
        REQUIRE(::poll(&ready, 1, 20000) == 1);
        const std::size_t count = ends.ours.read(ends.slots);
        for (std::size_t i = 0; i < count; ++i) {
            REQUIRE(ends.slots[i].length == sizeof(int));
            std::memcpy(&got.emplace_back(), ends.slots[i].bytes, sizeof(int));
        }
        if (!full) continue;
        std::vector<iovec> sdus;
        for (std::size_t i = back; i < std::min<std::size_t>(back + 100, kCount); ++i)
            sdus.push_back({&got[i], sizeof(int)});
        back += ends.ours.write(sdus);
    }
    application.join();
    REQUIRE(got.size() == kCount + 1);
    CHECK(got.back() == -2);
    for (int i = 0; i < kCount; ++i) REQUIRE(got[static_cast<std::size_t>(i)] == i);
}
