#include <fstream>
#include <iterator>
#include <map>

#include "pcap_writer/pcap_reader.hpp"
#include "support.hpp"

// Each side of what rlite nodes said is replaced by our shim in turn, which must send the same
// RINA-ARP and put the same header before each SDU, byte for byte.

using namespace sluice;
using namespace sluice::shim_eth;

namespace {

constexpr MacAddress kA2{0x00, 0x0a, 0x0a, 0x0a, 0x0a, 0x01};
constexpr MacAddress kB2{0x00, 0x0a, 0x0a, 0x0a, 0x0a, 0x02};
constexpr MacAddress kA{0x00, 0x0a, 0x0a, 0x0a, 0x01, 0x02};
constexpr MacAddress kB{0x00, 0x0a, 0x0a, 0x0a, 0x02, 0x01};

struct Story {
    std::string file;
    MacAddress ours;
    std::uint16_t vlan;
    std::string registered;
    unsigned asked, answered, sent, received;
};

struct Replay {
    explicit Replay(const Story& story) : node(config(story)) {
        if (!story.registered.empty())
            REQUIRE(node.shim.register_app(named(story.registered)));
    }
    static Config config(const Story& story) {
        Config config = config_of(story.ours);
        config.vlan = story.vlan;
        return config;
    }

    void events() {
        for (const auto& requested : node.taken<FlowRequested>()) {
            flow = requested.flow;
            REQUIRE(node.shim.accept(node.now, flow));
        }
        for (const auto& allocated : node.taken<FlowAllocated>()) flow = allocated.flow;
        for (auto& frame : node.taken<SendFrame>()) said.push_back(frame.bytes);
        node.out.clear();
    }
    void ours(const Bytes& frame, const ParsedHeader& header) {
        const auto body = std::span<const std::byte>(frame).subspan(header.size);
        if (header.ether_type == 0xd1f0) {
            const auto made = node.shim.header_for(flow);
            const auto head = made.view();
            CHECK(Bytes(head.begin(), head.end()) ==
                  Bytes(frame.begin(), frame.begin() + header.size));
            ++sent;
            return;
        }
        RinaArp arp;
        REQUIRE(rina::parse(body, arp) == rina::ArpError::none);
        if (arp.operation == RinaArp::Operation::reply) {
            ++answered;
        } else {
            const std::string target(arp.target);
            ++asked;
            if (!asking.contains(target)) {
                asking[target] = true;
                REQUIRE(node.shim.allocate(node.now, named(std::string(arp.sender)),
                                           named(target), 1));
            } else {
                // rlite's timer is not per name, so its first repetition may come early.
                node.shim.on_timeout(node.shim.next_deadline());
            }
            events();
        }
        REQUIRE(said.size() == 1);
        CHECK(said.front() == frame);
        said.clear();
    }
    void theirs(const Bytes& frame, const ParsedHeader& header) {
        const Verdict verdict = node.gets(frame);
        events();
        if (header.ether_type != 0xd1f0) return;
        CHECK((verdict.kind == Kind::data || verdict.kind == Kind::hold));
        CHECK(verdict.offset + verdict.length == frame.size());
        CHECK(verdict.flow == flow);
        ++received;
    }

    Node node;
    FlowHandle flow{};
    std::map<std::string, bool> asking;
    std::vector<Bytes> said;
    unsigned asked = 0, answered = 0, sent = 0, received = 0;
};

void replay(const Story& story) {
    INFO(story.file << " as " << static_cast<int>(story.ours[5]));
    std::ifstream in(std::string(RLITE_TRACES) + "/" + story.file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    auto reader = pcap::Reader::open(std::as_bytes(std::span(text)), story.file);
    REQUIRE(reader);
    Replay replay(story);
    for (auto record = reader->next(); record && *record; record = reader->next()) {
        const Bytes frame((*record)->data.begin(), (*record)->data.end());
        const ParsedHeader header = parse_header(frame);
        if (header.ether_type != 0x0806 && header.ether_type != 0xd1f0) continue;
        // s3-02 begins with a program of s3-01 that still asks, without a tag.
        if (header.vlan != story.vlan) continue;
        if (header.source == story.ours)
            replay.ours(frame, header);
        else
            replay.theirs(frame, header);
    }
    CHECK(replay.said.empty());
    CHECK(replay.asked == story.asked);
    CHECK(replay.answered == story.answered);
    CHECK(replay.sent == story.sent);
    CHECK(replay.received == story.received);
}

}  // namespace

TEST_CASE("rlite's conversations, with our shim as either side") {
    const std::string direct = "s3-01-shim-eth-direct-rr-no-normal-dif.pcap";
    const std::string vlan = "s3-02-vlan-shim-eth-enroll.pcap";
    const std::string enroll = "s1-01-arp-and-enrollment.pcap";
    replay({direct, kB, 0, "", 5, 0, 1, 1});
    replay({direct, kA, 0, "rina-echo-async|server", 0, 1, 1, 1});
    replay({vlan, kB, 110, "", 1, 0, 16, 20});
    replay({vlan, kA, 110, "a.IPCP", 0, 1, 20, 16});
    replay({enroll, kB2, 0, "", 1, 0, 6, 12});
    replay({enroll, kA2, 0, "a.IPCP", 0, 1, 12, 6});
}
