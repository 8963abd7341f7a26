#include <fstream>
#include <iterator>

#include "pcap_writer/pcap_reader.hpp"
#include "support.hpp"

// Each side of what rlite nodes said over UDP is replaced by our shim in turn, which must send each
// datagram to the same port and from a socket of its own.

using namespace sluice;
using namespace sluice::shim_udp;

namespace {

struct Datagram {
    Endpoint from, to;
    Bytes payload;
};

unsigned be16(std::span<const std::byte> bytes, std::size_t at) {
    return (std::to_integer<unsigned>(bytes[at]) << 8) | std::to_integer<unsigned>(bytes[at + 1]);
}

std::vector<Datagram> datagrams() {
    const std::string file = "s6-shim-udp4-enroll-ping.pcap";
    std::ifstream in(std::string(RLITE_TRACES) + "/" + file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    auto reader = pcap::Reader::open(std::as_bytes(std::span(text)), file);
    REQUIRE(reader);
    std::vector<Datagram> found;
    for (auto record = reader->next(); record && *record; record = reader->next()) {
        const auto frame = (*record)->data;
        if (be16(frame, 12) != 0x0800 || frame[23] != std::byte{17}) continue;
        const auto ip = frame.subspan(14);
        const auto udp = ip.subspan(20);
        const auto address = [&ip](std::size_t at) {
            return IpAddress::v4((be16(ip, at) << 16) | be16(ip, at + 2));
        };
        const auto payload = udp.subspan(8, be16(udp, 4) - 8);
        found.push_back({{address(12), static_cast<std::uint16_t>(be16(udp, 0))},
                         {address(16), static_cast<std::uint16_t>(be16(udp, 2))},
                         Bytes(payload.begin(), payload.end())});
    }
    return found;
}

}  // namespace

TEST_CASE("rlite's conversation over UDP, with our shim as the initiator") {
    Node node;
    const FlowHandle flow = node.open("a.IPCP", kOurs);
    const SocketId socket = node.socket_of(flow);
    unsigned sent = 0, received = 0;
    for (const Datagram& one : datagrams()) {
        if (one.from.address == kTheirs) {
            CHECK(node.shim.target_for(flow) == Target{socket, one.to});
            ++sent;
        } else {
            const Verdict verdict = node.shim.on_datagram(node.now, socket, one.from, one.payload);
            CHECK(verdict.kind == Kind::data);
            CHECK(verdict.length == one.payload.size());
            ++received;
        }
    }
    CHECK(sent == 13);
    CHECK(received == 21);
    CHECK(node.out.empty());
}

TEST_CASE("rlite's conversation over UDP, with our shim as the responder") {
    Node node;
    const SocketId listener = node.listen("a.IPCP", kOurs);
    FlowHandle flow{};
    SocketId own{};
    unsigned sent = 0, received = 0;
    for (const Datagram& one : datagrams()) {
        if (one.from.address == kOurs) {
            CHECK(node.shim.target_for(flow) == Target{own, one.to});
            ++sent;
            continue;
        }
        const SocketId socket = one.to.port == 3359 ? listener : own;
        const Verdict verdict = node.shim.on_datagram(node.now, socket, one.from, one.payload);
        ++received;
        if (received > 1) {
            CHECK(verdict.kind == Kind::data);
            CHECK(verdict.flow == flow);
            continue;
        }
        CHECK(verdict.kind == Kind::hold);
        flow = verdict.flow;
        own = node.taken<OpenSocket>().at(0).socket;
        node.out.clear();
        node.shim.on_named(node.now, kTheirs, named("b.IPCP"));
        node.shim.on_socket(node.now, own);
        CHECK(node.only<FlowRequested>().local == named("a.IPCP"));
        REQUIRE(node.shim.accept(node.now, flow));
    }
    CHECK(sent == 21);
    CHECK(received == 13);
}
