#define CATCH_CONFIG_MAIN
#include <rapidcheck.h>

#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <vector>

#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/efcp/delimiting.hpp"
#include "normal_dif/core/efcp/seq.hpp"

using namespace sluice;
using namespace sluice::efcp;

namespace {

using Bytes = std::vector<std::byte>;

Bytes any_bytes(std::size_t size) {
    const auto values = *rc::gen::container<std::vector<std::uint8_t>>(
        size, rc::gen::arbitrary<std::uint8_t>());
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(values[i]);
    return bytes;
}

// What comes out of a reassembler; checks that each token comes out once.
struct Taker {
    void put(std::uint64_t seq, const Bytes& pdu) {
        const auto token = static_cast<PduToken>(++tokens);
        held[token] = pdu;
        reassembler.on_pdu(seq, token, pdu, static_cast<std::uint32_t>(pdu.size()));
        while (const auto piece = reassembler.take_piece()) {
            RC_ASSERT(held.count(piece->token) == 1u);
            const Bytes& from = held[piece->token];
            RC_ASSERT(std::size_t{piece->offset} + piece->bytes <= from.size());
            partial.insert(partial.end(), from.begin() + piece->offset,
                           from.begin() + piece->offset + piece->bytes);
            if (piece->is_last_of_token) held.erase(piece->token);
            if (piece->ends_sdu) sdus.push_back(std::move(partial)), partial.clear();
        }
        while (const auto gone = reassembler.take_dropped())
            RC_ASSERT(held.erase(gone->token) == 1u);
        RC_ASSERT(held.size() == reassembler.held_parts());
        RC_ASSERT(held.size() <= limits.parts_max);
        RC_ASSERT(reassembler.held_bytes() <= limits.sdu_bytes_max);
    }
    Reassembler::Limits limits{5000, 300};
    Reassembler reassembler{limits};
    std::uintptr_t tokens = 0;
    std::map<PduToken, Bytes> held;
    Bytes partial;
    std::vector<Bytes> sdus;
};

}  // namespace

TEST_CASE("sequence numbers", "[prop]") {
    CHECK(rc::check("what is near is found again", [] {
        const unsigned width = *rc::gen::inRange(1u, 9u);
        const SeqSpace space(width);
        const auto near = *rc::gen::arbitrary<std::uint64_t>();
        const auto raw = *rc::gen::arbitrary<std::uint64_t>();
        // Half as many lie behind as ahead, and the middle counts as behind.
        const std::uint64_t apart = (raw & space.mask()) - space.half();
        const std::uint64_t seq = near + apart;
        RC_ASSERT(space.unwrap(space.wrap(seq), near) == seq);
    }));
    CHECK(rc::check("order is that of the distance", [] {
        const auto a = *rc::gen::arbitrary<std::uint64_t>();
        const auto by = *rc::gen::inRange<std::uint64_t>(1, std::uint64_t{1} << 62);
        RC_ASSERT(before(a, a + by));
        RC_ASSERT(!before(a + by, a));
        RC_ASSERT(!before(a, a));
        RC_ASSERT(later(a, a + by) == a + by);
        RC_ASSERT(sooner(a, a + by) == a);
    }));
}

TEST_CASE("delimiting", "[prop]") {
    CHECK(rc::check("what is cut comes out whole; a lost PDU costs its SDUs only", [] {
        const auto max = *rc::gen::inRange<std::uint32_t>(6, 200);
        std::vector<Bytes> sdus;
        std::vector<std::pair<std::size_t, Bytes>> pdus;  // of which SDU
        const auto count = *rc::gen::inRange<std::size_t>(1, 8);
        for (std::size_t n = 0; n < count; ++n) {
            // At most 300 parts even of the shortest PDUs.
            sdus.push_back(any_bytes(*rc::gen::inRange<std::size_t>(0, 1000)));
            const auto size = static_cast<std::uint32_t>(sdus[n].size());
            Fragmenter fragmenter(size, max);
            std::uint32_t parts = 0;
            while (const auto f = fragmenter.next()) {
                Bytes pdu(f->header.begin(), f->header.begin() + f->header_bytes);
                pdu.insert(pdu.end(), sdus[n].begin() + f->offset,
                           sdus[n].begin() + f->offset + f->bytes);
                RC_ASSERT(pdu.size() <= max);
                pdus.emplace_back(n, std::move(pdu));
                ++parts;
            }
            RC_ASSERT(parts == Fragmenter::count(size, max));
        }
        const auto lost = *rc::gen::inRange<std::size_t>(0, 2 * pdus.size());
        Taker taker;
        taker.limits.parts_max = 1000;
        taker.reassembler = Reassembler(taker.limits);
        for (std::size_t i = 0; i < pdus.size(); ++i)
            if (i != lost) taker.put(i, pdus[i].second);
        if (lost < pdus.size())
            sdus.erase(sdus.begin() + static_cast<long>(pdus[lost].first));
        RC_ASSERT(taker.sdus == sdus);
    }));
    CHECK(rc::check("several in one PDU come out as they went in", [] {
        const auto lengths = *rc::gen::container<std::vector<std::size_t>>(
            rc::gen::inRange<std::size_t>(0, 40));
        Bytes pdu(300);
        Concatenator concatenator(pdu);
        std::vector<Bytes> sdus;
        for (const std::size_t length : lengths) {
            const Bytes sdu = any_bytes(length);
            if (!concatenator.add(sdu)) break;
            sdus.push_back(sdu);
        }
        if (sdus.empty()) return;
        pdu.resize(concatenator.bytes());
        Taker taker;
        taker.put(5, pdu);
        RC_ASSERT(taker.sdus == sdus);
        RC_ASSERT(taker.held.empty());
    }));
    CHECK(rc::check("any bytes leave no token behind and no memory unbounded", [] {
        Taker taker;
        std::uint64_t seq = 0;
        const auto count = *rc::gen::inRange<std::size_t>(1, 60);
        for (std::size_t n = 0; n < count; ++n) {
            Bytes pdu = any_bytes(*rc::gen::inRange<std::size_t>(0, 30));
            if (!pdu.empty() && *rc::gen::inRange(0, 4) != 0)
                pdu[0] = static_cast<std::byte>(*rc::gen::element(4, 5, 6, 7, 15));
            if (pdu.size() > 4 && *rc::gen::inRange(0, 2) != 0)
                pdu[2] = pdu[3] = pdu[4] = std::byte{};
            seq += *rc::gen::element<std::uint64_t>(1, 1, 1, 2);
            taker.put(seq, pdu);
        }
    }));
}

TEST_CASE("control PDUs", "[prop]") {
    CHECK(rc::check("what is written is parsed as the same", [] {
        rina::PciFormat format;
        format.sequence = *rc::gen::element<std::uint8_t>(1, 2, 4, 8);
        ControlItem item;
        item.pci.type = *rc::gen::element<std::uint8_t>(0xc4, 0xc8, 0xcc, 0xce, 0xc6, 0xcf);
        const auto any = [&] {
            return *rc::gen::arbitrary<std::uint64_t>() & format.sequence_mask();
        };
        item.fields = {any(), any(), any(), any(), any(), any()};
        item.sack.clear();
        const auto blocks = has_sack(item.pci.type)
                                ? *rc::gen::inRange<std::size_t>(0, kSackBlocksMax + 1)
                                : 0;
        for (std::size_t i = 0; i < blocks; ++i) item.sack.add({any(), any()});
        item.pci.length =
            static_cast<std::uint32_t>(format.control_bytes() + blocks * 2 * format.sequence);
        Bytes bytes(item.pci.length);
        write(item, format, bytes.data());
        rina::Pci pci;
        RC_ASSERT(rina::parse(bytes, bytes.size(), format, pci) == rina::PciError::none);
        RC_ASSERT(pci == item.pci);
        RC_ASSERT(rina::parse_control(bytes, format) == item.fields);
        const auto sack = parse_sack(bytes, format);
        RC_ASSERT(sack.has_value());
        RC_ASSERT(std::equal(sack->begin(), sack->end(), item.sack.begin(), item.sack.end()));
    }));
}

namespace {

void any_policies(EfcpPolicies& policies) {
    if (*rc::gen::arbitrary<bool>()) policies.in_order = !policies.in_order;
    if (policies.window) policies.window->initial_credit = *rc::gen::inRange(1u, 200u);
    policies.max_sdu_gap = *rc::gen::inRange<std::int64_t>(-1, 5);
}

rina::Pci any_pci(const rina::PciFormat& format) {
    rina::Pci pci;
    pci.source = rina::Address{*rc::gen::element<std::uint64_t>(2, 2, 2, 2, 2, 2, 2, 9)};
    pci.destination = rina::Address{1};
    pci.source_cep = rina::CepId{2};
    pci.destination_cep = rina::CepId{1};
    pci.type = *rc::gen::element<std::uint8_t>(0x80, 0x80, 0x80, 0xcc, 0xce, 0xc8, 0xcf, 0xc4);
    pci.flags = *rc::gen::element<std::uint16_t>(0, 0, 0, 0, 0x80, 1);
    const auto near = *rc::gen::inRange<std::uint64_t>(0, 300);
    const auto far = *rc::gen::arbitrary<std::uint64_t>();
    pci.sequence = *rc::gen::element(near, near, near, far) & format.sequence_mask();
    pci.length = static_cast<std::uint32_t>(format.bytes()) + 4;
    return pci;
}

// A peer that sends whatever it likes: nothing breaks, and all tokens come out again.
void hostile_peer(EfcpPolicies policies) {
    any_policies(policies);
    rina::PciFormat format;
    format.sequence = *rc::gen::element<std::uint8_t>(1, 2, 4, 8);
    if (!check(policies, format)) return;
    Connection connection({rina::Address{1}, rina::Address{2}, rina::CepId{1}, rina::CepId{2},
                           rina::QosId{0}},
                          policies, format);
    Outbox out;
    Instant now{1'000'000};
    std::uint64_t put = 0;
    std::uint64_t taken = 0;
    std::uintptr_t token = 0;
    const auto collect = [&] {
        for (const SendItem& item : out.send) taken += item.kept ? 0 : 1;
        taken += out.deliver.size() + out.done.size() + out.drop.size();
        const auto n = static_cast<std::uint32_t>(out.deliver.size());
        out.clear();
        connection.consumed(now, n, out);
        out.clear();
    };
    const auto steps = *rc::gen::inRange(1, 200);
    for (int step = 0; step < steps; ++step) {
        now = now + Duration::microseconds(*rc::gen::inRange(0, 40000));
        if (*rc::gen::inRange(0, 4) == 0) {
            const TxItem item{static_cast<PduToken>(++token), 10};
            put += connection.submit(now, {&item, 1}, out);
        } else {
            RxItem item;
            item.token = static_cast<PduToken>(++token);
            item.pci = any_pci(format);
            Bytes bytes;
            if (rina::is_control(item.pci.type)) {
                bytes = any_bytes(format.control_bytes() +
                                  *rc::gen::inRange<std::size_t>(0, 5) * format.sequence);
                // Small numbers are near those that are in use.
                if (*rc::gen::arbitrary<bool>())
                    for (std::size_t i = format.bytes(); i < bytes.size(); ++i)
                        if (i % format.sequence != 0) bytes[i] = std::byte{};
                item.pci.length = static_cast<std::uint32_t>(bytes.size());
            }
            item.bytes = bytes;
            put += connection.on_burst(now, {&item, 1}, out);
        }
        collect();
        for (int i = 0; i < 1000 && connection.next_deadline() <= now; ++i) {
            connection.on_timeout(now, out);
            collect();
        }
        RC_ASSERT(connection.next_deadline() > now);
    }
    for (int i = 0; i < 100000; ++i) {
        const bool is_done = connection.abort(out);
        collect();
        if (is_done) break;
    }
    RC_ASSERT(connection.holds_nothing());
    RC_ASSERT(taken == put);
}

}  // namespace

TEST_CASE("a hostile peer", "[prop]") {
    CHECK(rc::check("best effort", [] { hostile_peer(EfcpPolicies::best_effort()); }));
    CHECK(rc::check("rlite, reliable", [] { hostile_peer(EfcpPolicies::rlite_reliable()); }));
    CHECK(rc::check("flow control", [] { hostile_peer(EfcpPolicies::rlite_flow_control(16)); }));
    CHECK(rc::check("reliable", [] { hostile_peer(EfcpPolicies::sluice_reliable(100)); }));
}
