#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <deque>
#include <vector>

#include "base/rng.hpp"
#include "tgen/core/session.hpp"

using namespace sluice;
using namespace sluice::tgen;
using Want = ClientSession::Want;

namespace {

constexpr ClockId kClock{11, 1'000'000'000};  // a tick is a nanosecond
using Sdu = std::vector<std::byte>;

std::uint64_t tsc_of(Instant now) { return static_cast<std::uint64_t>(now.ns); }

template <std::size_t N, typename M>
Sdu coded(const M& message) {
    Sdu s(N);
    encode(message, std::span<std::byte, N>(s.data(), N));
    return s;
}

ClientSettings settings(std::uint64_t count = 0) {
    ClientSettings s;
    s.nonce = 77;
    s.sizes = SizeRange::constant(100);
    s.count = count;
    s.clock = kClock;
    return s;
}

Sdu build(const ClientSession& client, Instant now) {
    const auto next = client.peek();
    Sdu s(next.size);
    if (next.stamped) write_stamped(s.data(), {client.tag(), next.seq, tsc_of(now)});
    if (!next.payload.empty()) std::memcpy(s.data(), next.payload.data(), next.payload.size());
    return s;
}

// What a client wants to send now, at most `limit` SDUs of data.
std::vector<Sdu> step(ClientSession& client, Instant now, unsigned limit = 32) {
    std::vector<Sdu> out;
    switch (client.poll(now)) {
        case Want::start:
            out.push_back(coded<kStartSize>(client.start_message()));
            client.start_sent(now);
            break;
        case Want::data:
            for (unsigned n = client.burst(now, limit); n > 0 && client.more(); --n) {
                out.push_back(build(client, now));
                client.sent(now);
            }
            break;
        case Want::fin:
            out.push_back(coded<kFinSize>(client.fin_message()));
            client.fin_sent(now);
            break;
        case Want::nothing: break;
    }
    return out;
}

void give(ServerSession& server, Instant now, const Sdu& sdu) {
    if (server.on_sdu(tsc_of(now), sdu, static_cast<std::uint32_t>(sdu.size())) ==
        ServerSession::Verdict::payload) {
        // In two segments, as an SDU of more than one mbuf comes.
        const auto bytes = std::span<const std::byte>(sdu);
        server.on_payload(bytes.first(bytes.size() / 3));
        server.on_payload(bytes.subspan(bytes.size() / 3));
    }
}

// Runs both ends over a perfect flow with `delay` one way.
void run(ClientSession& client, ServerSession& server, Duration delay) {
    Instant now{5'000};
    client.begin(now);
    for (int i = 0; i < 1'000'000 && !client.over(); ++i) {
        for (const Sdu& sdu : step(client, now)) give(server, now + delay, sdu);
        if (server.report_due()) {
            const Sdu report = coded<kReportSize>(server.report());
            client.on_sdu(report, report.size());
            server.report_sent();
        }
        now = std::max(now + Duration{1000}, client.over() ? now : client.deadline(now));
    }
}

}  // namespace

TEST_CASE("a run of so many SDUs, from START to REPORT") {
    ClientSession client(settings(1000));
    ServerSession server(kClock);
    run(client, server, Duration::microseconds(3));
    REQUIRE(client.state() == ClientState::done);
    REQUIRE(client.report());
    CHECK(client.sdus_sent() == 1000);
    CHECK(client.report()->sdus == 1000);
    CHECK(client.report()->bytes == 100'000);
    CHECK(client.report()->lost == 0);
    CHECK(client.report()->foreign == 0);
    CHECK(client.report()->latency_count == 1000);
    CHECK(client.report()->latency_min_ns == 3000);
    CHECK(client.report()->latency_max_ns == 3000);
    CHECK(server.state() == ServerState::finished);
    CHECK(server.latency_known());
    CHECK(server.start()->count == 1000);
    CHECK(server.fin()->sdus == 1000);
}

TEST_CASE("the states of a client one by one") {
    ClientSession client(settings(1));
    Instant now{10};
    CHECK(client.state() == ClientState::idle);
    CHECK(client.poll(now) == Want::nothing);
    CHECK(client.deadline(now).is_never());
    client.begin(now);
    CHECK(client.state() == ClientState::starting);
    CHECK(client.poll(now) == Want::start);
    CHECK(client.poll(now) == Want::start);  // it was not sent
    CHECK(client.deadline(now) == now);
    CHECK(client.burst(now, 32) == 0);
    client.start_sent(now);
    CHECK(client.state() == ClientState::running);
    CHECK(client.poll(now) == Want::data);
    CHECK(client.burst(now, 32) == 1);
    client.sent(now);
    CHECK(client.state() == ClientState::finishing);
    CHECK_FALSE(client.more());
    CHECK(client.poll(now) == Want::fin);
    client.fin_sent(now);
    CHECK(client.poll(now) == Want::nothing);
    CHECK(client.deadline(now) == now + ClientSession::kFinPeriod);
    Report report;
    report.nonce = 77;
    const Sdu r = coded<kReportSize>(report);
    client.on_sdu(r, r.size());
    CHECK(client.state() == ClientState::done);
    CHECK(client.deadline(now).is_never());
    CHECK(client.poll(now) == Want::nothing);
}

TEST_CASE("FIN is repeated every 200 ms and given up after 5 s") {
    ClientSession client(settings(1));
    Instant now{0};
    client.begin(now);
    step(client, now);
    step(client, now);
    int fins = 0;
    while (!client.over()) {
        const auto out = step(client, now);
        if (!out.empty()) {
            REQUIRE(out.front().size() == kFinSize);
            CHECK(now == Instant{0} + ClientSession::kFinPeriod * fins);
            ++fins;
        }
        if (!client.over()) now = client.deadline(now);
    }
    CHECK(fins == 25);
    CHECK(now == Instant{0} + ClientSession::kReportTimeout);
    CHECK(client.state() == ClientState::failed);
    CHECK(client.failure() == ClientFailure::no_report);
}

TEST_CASE("a FIN that cannot be sent times out too") {
    ClientSession client(settings(1));
    client.begin(Instant{0});
    step(client, Instant{0});
    step(client, Instant{0});
    CHECK(client.poll(Instant{1}) == Want::fin);
    CHECK(client.deadline(Instant{1}) == Instant{1});
    CHECK(client.poll(Instant{} + ClientSession::kReportTimeout) == Want::nothing);
    CHECK(client.failure() == ClientFailure::no_report);
}

TEST_CASE("only the REPORT of this run ends it") {
    ClientSession client(settings(1));
    Report report;
    report.nonce = 77;
    const Sdu good = coded<kReportSize>(report);
    client.on_sdu(good, good.size());
    CHECK(client.state() == ClientState::idle);
    client.begin(Instant{0});
    step(client, Instant{0});
    client.on_sdu(good, good.size());  // before there was a FIN
    CHECK(client.state() == ClientState::running);
    step(client, Instant{0});
    step(client, Instant{0});
    report.nonce = 78;
    const Sdu other = coded<kReportSize>(report);
    client.on_sdu(other, other.size());
    client.on_sdu(std::span(good).first(100), 100);
    CHECK(client.state() == ClientState::finishing);
    client.on_sdu(good, good.size());
    CHECK(client.state() == ClientState::done);
}

TEST_CASE("each limit ends the run where it should") {
    SECTION("bytes, with the SDU that reaches them") {
        ClientSettings s = settings();
        s.bytes = 950;
        ClientSession client(s);
        ServerSession server(kClock);
        run(client, server, Duration{1});
        CHECK(client.report()->sdus == 10);
    }
    SECTION("duration") {
        ClientSettings s = settings();
        s.rate = {Rate::Unit::packets, 1000};
        s.duration = Duration::seconds(2);
        ClientSession client(s);
        ServerSession server(kClock);
        run(client, server, Duration{1});
        CHECK(client.state() == ClientState::done);
        CHECK(client.sdus_sent() == 2000);
        CHECK(client.sending_time() > Duration::milliseconds(1998));
        CHECK(client.sending_time() < Duration::seconds(2));
    }
    SECTION("whichever comes first") {
        ClientSettings s = settings(5);
        s.bytes = 1'000'000;
        s.duration = Duration::seconds(1000);
        ClientSession client(s);
        ServerSession server(kClock);
        run(client, server, Duration{1});
        CHECK(client.sdus_sent() == 5);
    }
}

TEST_CASE("stop sends FIN from running and gives up before") {
    ClientSession client(settings());
    client.begin(Instant{0});
    step(client, Instant{0});
    step(client, Instant{0}, 7);
    client.stop(Instant{1});
    CHECK(client.state() == ClientState::finishing);
    CHECK(client.fin_message().sdus == 7);
    client.stop(Instant{2});
    CHECK(client.state() == ClientState::finishing);

    ClientSession early(settings());
    early.begin(Instant{0});
    early.stop(Instant{0});
    CHECK(early.failure() == ClientFailure::stopped);
    early.flow_closed();
    CHECK(early.failure() == ClientFailure::stopped);

    ClientSession closed(settings());
    closed.begin(Instant{0});
    closed.flow_closed();
    CHECK(closed.failure() == ClientFailure::flow_closed);
    CHECK(to_string(closed.failure()) == "flow_closed");
}

TEST_CASE("a client that is paced sleeps until the next SDU") {
    ClientSettings s = settings(3);
    s.rate = {Rate::Unit::packets, 1000};
    s.burst = 1;
    ClientSession client(s);
    client.begin(Instant{0});
    step(client, Instant{0});
    CHECK(step(client, Instant{0}).size() == 1);
    CHECK(client.poll(Instant{1}) == Want::nothing);
    CHECK(client.deadline(Instant{1}) == Instant{1'000'000});
    CHECK(client.poll(Instant{1'000'000}) == Want::data);
    CHECK(step(client, Instant{1'000'000}).size() == 1);
}

TEST_CASE("a sweep over small and large sizes numbers the stamped ones") {
    ClientSettings s = settings(2 * 41);
    s.sizes = {0, 40, 1};
    ClientSession client(s);
    ServerSession server(kClock);
    run(client, server, Duration{1});
    REQUIRE(client.report());
    CHECK(client.report()->sdus == 82);
    CHECK(client.report()->unstamped == 48);
    CHECK(client.report()->latency_count == 34);
    CHECK(client.report()->bytes == 2 * 820);
    CHECK(client.report()->lost == 0);
    CHECK(client.report()->duplicates == 0);
}

TEST_CASE("stamped data as long as control messages are data") {
    for (const std::size_t size : {kStartSize, kFinSize, kReportSize}) {
        ClientSettings s = settings(50);
        s.sizes = SizeRange::constant(static_cast<std::uint32_t>(size));
        ClientSession client(s);
        ServerSession server(kClock);
        run(client, server, Duration{1});
        REQUIRE(client.report());
        CHECK(client.report()->sdus == 50);
        CHECK(client.report()->foreign == 0);
    }
}

TEST_CASE("plain mode counts what nobody looks at") {
    const std::uint32_t size = GENERATE(0u, 7u, 48u, 80u, 100u, 152u);
    ClientSettings plain = settings(500);
    plain.mode = Mode::plain;
    plain.sizes = SizeRange::constant(size);
    ClientSession client(plain);
    ServerSession server(kClock);
    Instant now{5'000};
    client.begin(now);
    CHECK(client.uniform());
    while (client.poll(now) == Want::start) give(server, now, step(client, now).at(0));
    // FIN and START have to be told from data, so data of their size are looked at.
    CHECK(server.plain_size() == (size == kFinSize || size == kStartSize ? ~0u : size));
    for (unsigned sent = 0; sent < 480; sent += 32) {
        if (server.plain_size() == size)
            server.on_plain(tsc_of(now), 32);
        else
            for (int i = 0; i < 32; ++i) give(server, now, Sdu(size, std::byte{0x5a}));
        client.sent_run(32, now);
        now = now + Duration{1000};
    }
    // What of the last burst comes is a part; the rest was lost.
    for (int i = 0; i < 13; ++i) give(server, now, Sdu(size, std::byte{0x5a}));
    client.sent_run(20, now);
    while (!client.over()) {
        for (const Sdu& sdu : step(client, now)) give(server, now, sdu);
        if (server.report_due()) {
            const Sdu report = coded<kReportSize>(server.report());
            client.on_sdu(report, report.size());
            server.report_sent();
        }
        now = now + Duration{1000};
    }
    REQUIRE(client.report());
    CHECK(client.report()->sdus == 493);
    CHECK(client.report()->bytes == 493ull * size);
    CHECK(client.report()->unstamped == 493);
    CHECK(client.report()->lost == 7);
    CHECK(client.report()->foreign == 0);
    CHECK(client.report()->latency_count == 0);
}

TEST_CASE("raw mode carries a file in SDUs of any size") {
    Rng rng(1);
    std::vector<std::byte> file(200'000);
    for (auto& b : file) b = static_cast<std::byte>(rng.next());
    Checksum expected;
    expected.update(file);
    for (const std::uint32_t size : {1u, 23u, 24u, 48u, 80u, 152u, 1500u, 65000u}) {
        ClientSettings s = settings();
        s.mode = Mode::raw;
        s.sizes = SizeRange::constant(size);
        s.data = file;
        ClientSession client(s);
        ServerSession server(kClock);
        run(client, server, Duration{1});
        REQUIRE(client.state() == ClientState::done);
        CHECK(client.start_message().bytes == file.size());
        CHECK(client.report()->sdus == (file.size() + size - 1) / size);
        CHECK(client.report()->bytes == file.size());
        CHECK(client.report()->checksum == expected.value());
        CHECK(client.report()->lost == 0);
        CHECK(client.report()->latency_count == 0);
    }
}

TEST_CASE("a file of control messages of other runs stays a file") {
    std::vector<std::byte> file;
    Start other;
    other.nonce = 5;
    other.sizes = SizeRange::constant(9);
    for (int i = 0; i < 4; ++i) {
        const Sdu s = coded<kStartSize>(other);
        file.insert(file.end(), s.begin(), s.end());
    }
    ClientSettings s = settings();
    s.mode = Mode::raw;
    s.sizes = SizeRange::constant(kStartSize);
    s.data = file;
    ClientSession client(s);
    ServerSession server(kClock);
    run(client, server, Duration{1});
    Checksum expected;
    expected.update(file);
    CHECK(client.report()->sdus == 4);
    CHECK(client.report()->checksum == expected.value());

    file = coded<kFinSize>(Fin{5, 1, 1, 1});
    s.sizes = SizeRange::constant(kFinSize);
    s.data = file;
    s.nonce = 78;
    ClientSession again(s);
    run(again, server, Duration{1});
    CHECK(again.report()->sdus == 1);
    CHECK(again.report()->bytes == kFinSize);
}

TEST_CASE("an empty file, or chunks of nothing, is a run without data") {
    ClientSettings s = settings();
    s.mode = Mode::raw;
    ClientSession client(s);
    ServerSession server(kClock);
    run(client, server, Duration{1});
    CHECK(client.state() == ClientState::done);
    CHECK(client.report()->sdus == 0);

    const std::array<std::byte, 3> some{};
    s.data = some;
    s.sizes = SizeRange::constant(0);
    ClientSession nothing(s);
    ServerSession fresh(kClock);
    run(nothing, fresh, Duration{1});
    CHECK(nothing.state() == ClientState::done);
    CHECK(nothing.sdus_sent() == 0);
}

TEST_CASE("a lossy flow is told from a reordering one") {
    ClientSession client(settings(100));
    ServerSession server(kClock);
    Instant now{0};
    client.begin(now);
    std::deque<Sdu> flow;
    while (client.state() != ClientState::finishing) {
        for (Sdu& s : step(client, now)) flow.push_back(std::move(s));
    }
    // START is 0. Lost: the SDUs 10, 20 and the last; doubled: 30; late: 40.
    std::vector<Sdu> arrived(flow.begin(), flow.end());
    std::swap(arrived[41], arrived[45]);
    for (std::size_t i = 0; i < arrived.size(); ++i) {
        if (i != 11 && i != 21 && i != 100) give(server, now, arrived[i]);
        if (i == 35) give(server, now, arrived[31]);
    }
    CHECK(server.report().lost == 2);
    give(server, now, step(client, now).front());
    CHECK(server.report_due());
    CHECK(server.report().lost == 3);
    CHECK(server.report().duplicates == 1);
    CHECK(server.report().reordered == 4);
    CHECK(server.report().sdus == 98);
    server.report_sent();
    CHECK_FALSE(server.report_due());

    // The REPORT was lost: another FIN, the same answer.
    const Report first = server.report();
    give(server, now + ClientSession::kFinPeriod,
         step(client, now + ClientSession::kFinPeriod).front());
    CHECK(server.report_due());
    CHECK(server.report() == first);
}

TEST_CASE("a flow that lost its START still gets an answer") {
    ServerSession server(kClock);
    ClientSession client(settings(3));
    client.begin(Instant{0});
    step(client, Instant{0});
    for (const Sdu& s : step(client, Instant{0})) give(server, Instant{0}, s);
    give(server, Instant{0}, step(client, Instant{0}).front());
    REQUIRE(server.report_due());
    CHECK(server.state() == ServerState::waiting);
    const Sdu report = coded<kReportSize>(server.report());
    client.on_sdu(report, report.size());
    CHECK(client.state() == ClientState::done);
    CHECK(client.report()->sdus == 0);
    CHECK(client.report()->lost == 3);
    CHECK(client.report()->foreign == 3);
}

TEST_CASE("runs follow on each other on one flow") {
    ServerSession server(kClock);
    for (std::uint64_t nonce = 1; nonce < 5; ++nonce) {
        ClientSettings s = settings(10 * nonce);
        s.nonce = nonce;
        ClientSession client(s);
        run(client, server, Duration{1});
        CHECK(client.report()->sdus == 10 * nonce);
        CHECK(client.report()->lost == 0);
    }
    // A START that arrives twice does not begin anew, a client that begins anew does.
    Start start;
    start.nonce = 50;
    start.sizes = SizeRange::constant(100);
    give(server, Instant{0}, coded<kStartSize>(start));
    Sdu data(100);
    write_stamped(data.data(), {tag_of(50), 0, 0});
    give(server, Instant{0}, data);
    give(server, Instant{0}, coded<kStartSize>(start));
    CHECK(server.report().sdus == 1);
    start.nonce = 51;
    give(server, Instant{0}, coded<kStartSize>(start));
    CHECK(server.report().sdus == 0);
    give(server, Instant{0}, data);
    CHECK(server.report().foreign == 1);
    give(server, Instant{0}, coded<kFinSize>(Fin{50, 1, 1, 1}));
    CHECK_FALSE(server.report_due());
    CHECK(server.report().foreign == 2);
}

TEST_CASE("another version is refused, another clock gives no latency") {
    ServerSession server(kClock);
    Start start;
    start.version = 9;
    start.nonce = 3;
    give(server, Instant{0}, coded<kStartSize>(start));
    CHECK(server.state() == ServerState::refused);
    CHECK(server.start()->version == 9);
    give(server, Instant{0}, Sdu(100));
    CHECK(server.report().sdus == 0);
    CHECK(server.report().foreign == 1);

    ClientSettings s = settings(10);
    s.clock.boot_hash = 12;
    ClientSession client(s);
    run(client, server, Duration{1});
    CHECK(client.report()->sdus == 10);
    CHECK(client.report()->latency_count == 0);
    CHECK_FALSE(server.latency_known());
}

TEST_CASE("noise never upsets a server") {
    Rng rng(8);
    ServerSession server(kClock);
    Start start;
    start.nonce = 1;
    start.sizes = SizeRange::constant(100);
    for (int i = 0; i < 50'000; ++i) {
        if (i == 20'000) give(server, Instant{0}, coded<kStartSize>(start));
        Sdu sdu(rng.below(200));
        for (auto& b : sdu) b = static_cast<std::byte>(rng.next());
        if (rng.chance(0.2) && sdu.size() >= 8) store_le64(sdu.data(), kMagic);
        give(server, Instant{i}, sdu);
    }
    CHECK(server.state() == ServerState::running);
    CHECK(server.report().lost == 0);
    CHECK(server.report().sdus == server.report().unstamped);
}
