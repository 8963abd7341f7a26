#include <catch2/catch.hpp>

#include <cstring>
#include <map>
#include <vector>

#include "normal_dif/core/efcp/delimiting.hpp"

using namespace sluice;
using namespace sluice::efcp;

namespace {

using Bytes = std::vector<std::byte>;

Bytes text(std::size_t size, unsigned from = 0) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(from + i * 7);
    return bytes;
}

std::vector<Bytes> cut(const Bytes& sdu, std::uint32_t max) {
    std::vector<Bytes> pdus;
    Fragmenter fragmenter(static_cast<std::uint32_t>(sdu.size()), max);
    while (const auto fragment = fragmenter.next()) {
        Bytes pdu(fragment->header.begin(), fragment->header.begin() + fragment->header_bytes);
        pdu.insert(pdu.end(), sdu.begin() + fragment->offset,
                   sdu.begin() + fragment->offset + fragment->bytes);
        REQUIRE(pdu.size() <= max);
        pdus.push_back(std::move(pdu));
    }
    REQUIRE(pdus.size() == Fragmenter::count(static_cast<std::uint32_t>(sdu.size()), max));
    return pdus;
}

// Takes what comes out, and follows the tokens.
struct Taker {
    explicit Taker(Reassembler::Limits limits = {}) : reassembler(limits) {}

    void put(const Bytes& pdu) { put(sequence, pdu); }
    void put(std::uint64_t seq, const Bytes& pdu) {
        sequence = seq + 1;
        const auto token = static_cast<PduToken>(++tokens);
        held[token] = pdu;
        reassembler.on_pdu(seq, token, pdu, static_cast<std::uint32_t>(pdu.size()));
        take();
    }
    void take() {
        while (const auto piece = reassembler.take_piece()) {
            REQUIRE(held.count(piece->token) == 1);
            const Bytes& pdu = held[piece->token];
            REQUIRE(piece->offset + piece->bytes <= pdu.size());
            partial.insert(partial.end(), pdu.begin() + piece->offset,
                           pdu.begin() + piece->offset + piece->bytes);
            if (piece->is_last_of_token) held.erase(piece->token);
            if (piece->ends_sdu) {
                sdus.push_back(partial);
                partial.clear();
            }
        }
        while (const auto gone = reassembler.take_dropped()) {
            REQUIRE(held.erase(gone->token) == 1);
            ++dropped[gone->reason];
        }
        REQUIRE(held.size() == reassembler.held_parts());
    }

    Reassembler reassembler;
    std::uint64_t sequence = 0;
    std::uintptr_t tokens = 0;
    std::map<PduToken, Bytes> held;
    std::map<DropReason, unsigned> dropped;
    Bytes partial;
    std::vector<Bytes> sdus;
};

Bytes raw(std::initializer_list<int> values) {
    Bytes bytes;
    for (const int v : values) bytes.push_back(static_cast<std::byte>(v));
    return bytes;
}

}  // namespace

TEST_CASE("the format is what the header says", "[delimiting]") {
    CHECK(cut(text(3), 10) == std::vector<Bytes>{raw({0x07, 0, 7, 14})});
    CHECK(cut(text(0), 10) == std::vector<Bytes>{raw({0x07})});
    CHECK(cut(text(9), 10).size() == 1);
    const std::vector<Bytes> parts = cut(text(12), 8);
    REQUIRE(parts.size() == 3);
    CHECK(parts[0] == raw({0x05, 12, 0, 0, 0, 0, 7, 14}));
    CHECK(parts[1] == raw({0x04, 21, 28, 35, 42, 49, 56, 63}));
    CHECK(parts[2] == raw({0x06, 70, 77}));
    Bytes pdu(12);
    Concatenator several(pdu);
    CHECK(several.bytes() == 0);
    CHECK(several.add(text(2)));
    CHECK(several.add({}));
    CHECK(several.add(text(3)));
    CHECK_FALSE(several.add({}));
    CHECK(several.count() == 3);
    CHECK(several.bytes() == 12);
    CHECK(pdu == raw({0x0f, 2, 0, 0, 7, 0, 0, 3, 0, 0, 7, 14}));
}

TEST_CASE("SDUs of any size come out as they went in", "[delimiting]") {
    Taker taker;
    std::vector<Bytes> sdus;
    for (const std::size_t size : {0, 1, 5, 6, 7, 8, 100, 99999, 3}) {
        sdus.push_back(text(size, static_cast<unsigned>(size)));
        for (const Bytes& pdu : cut(sdus.back(), 100)) taker.put(pdu);
    }
    CHECK(taker.sdus == sdus);
    CHECK(taker.held.empty());
    CHECK(taker.dropped.empty());
}

TEST_CASE("a lost part takes its SDU with it and no other", "[delimiting]") {
    const std::vector<Bytes> parts = cut(text(50), 20);
    REQUIRE(parts.size() == 3);
    for (std::size_t lost = 0; lost < 3; ++lost) {
        Taker taker;
        taker.put(0, cut(text(4), 20)[0]);
        for (std::size_t i = 0; i < 3; ++i)
            if (i != lost) taker.put(1 + i, parts[i]);
        taker.put(4, cut(text(5), 20)[0]);
        CHECK(taker.sdus == std::vector<Bytes>{text(4), text(5)});
        CHECK(taker.dropped[DropReason::efcp_sdu_incomplete] == 2);
        CHECK(taker.held.empty());
        CHECK(taker.partial.empty());
    }
}

TEST_CASE("two SDUs whose ends were lost are not taken for one", "[delimiting]") {
    const std::vector<Bytes> parts = cut(text(50), 20);
    Taker taker;
    taker.put(0, parts[0]);
    taker.put(1, parts[1]);
    taker.put(5, parts[2]);  // of another SDU
    CHECK(taker.sdus.empty());
    CHECK(taker.dropped[DropReason::efcp_sdu_incomplete] == 3);
    CHECK(taker.reassembler.sdus_lost() == 1);
}

TEST_CASE("memory is bounded whatever the peer announces", "[delimiting]") {
    Taker taker({1000, 4});
    taker.put(raw({0x05, 0xff, 0xff, 0xff, 0xff, 1}));
    CHECK(taker.dropped[DropReason::too_long] == 1);
    taker.put(raw({0x04, 1}));
    CHECK(taker.dropped[DropReason::efcp_sdu_incomplete] == 1);
    taker.put(Bytes(1002, std::byte{0x07}));
    CHECK(taker.dropped[DropReason::too_long] == 2);
    // Tiny parts: at most 4 are held.
    taker.put(raw({0x05, 0xe8, 3, 0, 0, 1}));
    for (int i = 0; i < 3; ++i) taker.put(raw({0x04, 1}));
    CHECK(taker.held.size() == 4);
    taker.put(raw({0x04, 1}));
    CHECK(taker.held.empty());
    CHECK(taker.dropped[DropReason::efcp_sdu_incomplete] == 5);
    CHECK(taker.dropped[DropReason::efcp_bad_delimiting] == 1);
    CHECK(taker.sdus.empty());
}

TEST_CASE("what is not delimited as agreed is dropped", "[delimiting]") {
    Taker taker;
    const Bytes bad[] = {
        {},                                    // nothing
        raw({0x00, 1}),                        // no kind
        raw({0xff}),
        raw({0x05, 1, 0, 0}),                  // first without a length
        raw({0x05, 1, 0, 0, 0}),               // first without a byte
        raw({0x05, 2, 0, 0, 0, 1, 2}),         // first that is all
        raw({0x05, 2, 0, 0, 0, 1, 2, 3}),      // more than announced
        raw({0x0f}),                           // none of several
        raw({0x0f, 1}),
        raw({0x0f, 1, 0}),                     // SDU behind the end
        raw({0x0f, 1, 0, 5, 9}),               // something left over
        raw({0x0f, 0, 0, 0xff, 0xff, 1, 2}),
    };
    for (const Bytes& pdu : bad) {
        const unsigned before = taker.dropped[DropReason::efcp_bad_delimiting];
        taker.put(pdu);
        CHECK(taker.dropped[DropReason::efcp_bad_delimiting] == before + 1);
    }
    CHECK(taker.sdus.empty());
    CHECK(taker.held.empty());
    // A last part that is too short, and one that is too long.
    for (const Bytes& last : {raw({0x06, 1}), raw({0x06, 1, 2, 3, 4}), raw({0x06})}) {
        taker.put(raw({0x05, 4, 0, 0, 0, 1}));
        CHECK(taker.held.size() == 1);
        taker.put(last);
        CHECK(taker.held.empty());
    }
    CHECK(taker.sdus.empty());
    taker.put(raw({0x05, 4, 0, 0, 0, 1}));
    taker.reassembler.abandon();
    taker.take();
    CHECK(taker.held.empty());
}
