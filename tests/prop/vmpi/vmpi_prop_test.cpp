#define CATCH_CONFIG_MAIN
#include <rapidcheck.h>

#include <array>
#include <catch2/catch.hpp>
#include <deque>
#include <string>

#include "rina/vmpi.hpp"
#include "shim_hv/core/credit.hpp"

using namespace sluice;
using namespace sluice::rina::vmpi;
using namespace sluice::shim_hv;

namespace {

std::string any_name() {
    const auto text = rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
    return *rc::gen::resize(255, rc::gen::suchThat(text, [](const std::string& s) {
                                return !s.empty() && s.size() <= 255;
                            }));
}

}  // namespace

TEST_CASE("what is encoded is parsed as the same", "[prop]") {
    CHECK(rc::check("profile sluice", [] {
        Message m;
        m.type = static_cast<Type>(*rc::gen::inRange(1, 11));
        m.epoch = *rc::gen::nonZero<std::uint64_t>();
        m.peer_epoch = *rc::gen::arbitrary<std::uint64_t>();
        m.transaction = *rc::gen::arbitrary<std::uint32_t>();
        const std::string source = any_name();
        const std::string destination = any_name();
        const bool has_channel = m.type >= Type::allocate_req && m.type <= Type::credit_probe;
        if (has_channel) {
            m.channel = *rc::gen::arbitrary<std::uint32_t>();
            m.generation = *rc::gen::inRange<std::uint8_t>(0, 128);
        }
        if (m.type == Type::allocate_resp || m.type == Type::deallocate)
            m.code = *rc::gen::arbitrary<std::uint8_t>();
        if (m.type == Type::credit || m.type == Type::credit_probe)
            m.units = *rc::gen::arbitrary<std::uint64_t>();
        if (m.type == Type::hello) {
            m.hello.challenge = *rc::gen::arbitrary<std::uint64_t>();
            m.hello.nonce = *rc::gen::arbitrary<std::uint64_t>();
            m.hello.max_sdu = *rc::gen::arbitrary<std::uint32_t>();
            m.hello.max_channels = *rc::gen::nonZero<std::uint32_t>();
            m.hello.credit_unit = 64u << *rc::gen::inRange(0, 15);
            m.hello.min_version = *rc::gen::inRange<std::uint8_t>(1, 9);
            m.hello.max_version = *rc::gen::inRange<std::uint8_t>(9, 20);
            m.hello.role = static_cast<Role>(*rc::gen::inRange(0, 3));
        }
        if (m.type == Type::allocate_req) {
            m.source = source;
            m.destination = destination;
        }
        std::array<std::byte, kControlBytesMax> bytes{};
        const std::size_t size = encode(m, bytes);
        RC_ASSERT(size > 0u);
        Message out;
        RC_ASSERT(parse(std::span(bytes).first(size), out) == ParseError::none);
        RC_ASSERT(out == m);
    }));
    CHECK(rc::check("profile irati", [] {
        IratiMessage m;
        m.command = static_cast<IratiCommand>(*rc::gen::inRange(0, 3));
        m.channel = *rc::gen::arbitrary<std::uint32_t>();
        const std::string source = any_name();
        const std::string destination = any_name();
        if (m.command == IratiCommand::allocate_resp) m.accepted = *rc::gen::arbitrary<bool>();
        if (m.command == IratiCommand::allocate_req) {
            m.source = source;
            m.destination = destination;
        }
        std::array<std::byte, 600> bytes{};
        const std::size_t size = encode_irati(m, bytes);
        RC_ASSERT(size > 0u);
        IratiMessage out;
        RC_ASSERT(parse_irati(std::span(bytes).first(size), out) == ParseError::none);
        RC_ASSERT(out == m);
    }));
    CHECK(rc::check("any bytes are parsed or refused", [](const std::vector<std::uint8_t>& raw) {
        Message m;
        IratiMessage irati;
        const std::span bytes(reinterpret_cast<const std::byte*>(raw.data()), raw.size());
        static_cast<void>(parse(bytes, m));
        static_cast<void>(parse_irati(bytes, irati));
    }));
}

TEST_CASE("words and costs", "[prop]") {
    CHECK(rc::check("a channel word has its parts", [](std::uint32_t channel, std::uint8_t gen) {
        const std::uint32_t word = channel_word(channel, gen);
        RC_ASSERT(channel_of(word) == (channel & 0xffffffu));
        RC_ASSERT(generation_of(word) == (gen & 0x7f));
        RC_ASSERT(!is_short(word));
    }));
    CHECK(rc::check("a cost is the number of units that hold the message", [] {
        const auto size = *rc::gen::inRange<std::uint32_t>(0, 1u << 24);
        const auto shift = *rc::gen::inRange<unsigned>(6, 21);
        const std::uint64_t cost = credit_cost(size, shift);
        RC_ASSERT((cost << shift) >= size + 4u);
        RC_ASSERT(((cost - 1) << shift) < size + 4u);
    }));
}

// A sender and a receiver over a ring that keeps order but may lose data, CREDIT and CREDIT_PROBE,
// in whatever pattern rapidcheck likes best.
TEST_CASE("credit", "[prop]") {
    CHECK(rc::check("never more outstanding than the window; any loss is healed", [] {
        const auto cost_max = *rc::gen::inRange<std::uint32_t>(1, 9);
        const std::uint64_t window = *rc::gen::inRange<std::uint64_t>(2 * cost_max, 64);
        const auto steps = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 100));
        CreditSender sender;
        CreditReceiver receiver;
        receiver.reset(window);
        receiver.start();
        Instant now{};
        const auto deliver = [&](std::uint32_t cost) {
            RC_ASSERT(receiver.on_arrival(cost) == CreditReceiver::Arrival::accept);
            RC_ASSERT(receiver.held() <= window);
        };
        const auto grant = [&](bool is_lost) {
            if (const auto limit = receiver.grant_due(); limit && !is_lost)
                sender.on_credit(*limit);
        };
        const auto probe = [&](bool is_lost) {
            if (!sender.probe_due(now)) return;
            if (!is_lost) RC_ASSERT(receiver.on_probe(sender.sent()));
            sender.on_probe_sent(now);
        };
        for (const int step : steps) {
            now = now + Duration::milliseconds(7);
            const bool is_lost = step % 4 == 0;
            const std::uint32_t cost = 1 + static_cast<std::uint32_t>(step) % cost_max;
            if (step < 50) {
                if (sender.try_send(cost, now) && !is_lost) deliver(cost);
            } else if (step < 70) {
                receiver.on_consumed_total(receiver.received());
                grant(is_lost);
            } else if (step < 80) {
                receiver.on_consumed(static_cast<std::uint32_t>(std::min<std::uint64_t>(
                    receiver.held(), cost)));
                grant(is_lost);
            } else {
                probe(is_lost);
            }
            RC_ASSERT(sender.sent() <= sender.limit());
            RC_ASSERT(sender.limit() <= receiver.granted());
            RC_ASSERT(sender.sent() <= receiver.consumed() + receiver.lost() + window);
        }
        // The losses end. Whatever was lost, the longest message passes within a few probes.
        bool passed = false;
        for (int i = 0; i < 5 && !passed; ++i) {
            receiver.on_consumed_total(receiver.received());
            grant(false);
            passed = sender.try_send(cost_max, now);
            now = now + Duration::seconds(1);
            probe(false);
            grant(false);
        }
        RC_ASSERT(passed);
        deliver(cost_max);
    }));
}

TEST_CASE("policing", "[prop]") {
    CHECK(rc::check("a receiver holds at most its window, whatever the sender does", [] {
        const auto window = *rc::gen::inRange<std::uint64_t>(1, 64);
        const auto steps = *rc::gen::container<std::vector<std::uint32_t>>(
            rc::gen::inRange<std::uint32_t>(0, 1000));
        CreditReceiver receiver;
        receiver.reset(window);
        receiver.start();
        for (const std::uint32_t step : steps) {
            if (step < 600)
                receiver.on_arrival(1 + step % 40);
            else if (step < 700)
                receiver.on_consumed(step % 8);
            else if (step < 900)
                static_cast<void>(receiver.on_probe(receiver.received() + step % 90));
            else
                static_cast<void>(receiver.grant_due());
            RC_ASSERT(receiver.held() <= window);
            RC_ASSERT(receiver.consumed() <= receiver.received());
        }
    }));
}
