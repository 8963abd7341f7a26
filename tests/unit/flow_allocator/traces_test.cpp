#include <catch2/catch.hpp>
#include <deque>
#include <fstream>
#include <iterator>

#include "node.hpp"
#include "pcap_writer/pcap_reader.hpp"

// rlite nodes allocate and end flows; each side in turn is replaced by our allocator, which must
// say what rlite said, byte for byte.

using namespace sluice;
using namespace sluice::mgmt;
using namespace sluice::test;

namespace {

struct Said {
    Address source{}, destination{};
    CdapMessage message;
};

// What was said about flows.
std::deque<Said> flow_messages(const std::string& file) {
    std::ifstream in(std::string(RLITE_TRACES) + "/" + file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    auto reader = pcap::Reader::open(std::as_bytes(std::span(text)), file);
    REQUIRE(reader);
    std::deque<Said> found;
    for (auto record = reader->next(); record && *record; record = reader->next()) {
        const std::span<const std::byte> frame = (*record)->data;
        rina::Pci pci;
        if (frame.size() < 14 || frame[12] != std::byte{0xd1}) continue;
        const auto pdu = frame.subspan(14);
        if (parse(pdu, pdu.size(), rina::kDefaultFormat, pci) != rina::PciError::none ||
            pci.type != static_cast<std::uint8_t>(rina::PduType::management))
            continue;
        const auto outer = rina::decode_cdap(pdu.subspan(rina::kDefaultFormat.bytes()));
        REQUIRE(outer);
        const auto object = rina::object_of(*outer);
        REQUIRE(object);
        if (const auto* a_data = std::get_if<rina::AData>(&*object))
            if (a_data->message.obj_class == "flow")
                found.push_back({a_data->source, a_data->destination, a_data->message});
    }
    return found;
}

struct Story {
    std::string file;
    std::int32_t initiators_id;  // first invoke id of each side
    std::int32_t responders_id;
    FlowSpec spec;
    std::string initiator, responder;
    std::uint32_t forced_credit = 0;
};

std::vector<Story> stories() {
    FlowSpec reliable;
    reliable.max_sdu_gap = 0;
    return {{"s1-04-flow-unreliable-ping.pcap", 3, 3, {}, "b.IPCP", "a.IPCP"},
            {"s1-05-flow-reliable-ping.pcap", 5, 5, reliable, "b.IPCP", "a.IPCP"},
            {"s1-09-flow-fc-no-rtx.pcap", 13, 13, {}, "b.IPCP", "a.IPCP", 16},
            {"s1-11-reverse-direction-flow.pcap", 17, 17, {}, "a.IPCP", "b.IPCP"}};
}

NodeOptions options_of(const Story& story, std::int32_t first_id, bool offered) {
    NodeOptions options;
    options.first_id = first_id;
    options.config.extensions.offered = offered;
    options.config.flow_del_wait = Duration::milliseconds(500);
    options.config.policies.force_flow_control = story.forced_credit != 0;
    if (story.forced_credit != 0)
        options.config.policies.window.initial_credit = story.forced_credit;
    return options;
}

Dif dif_of(const Story& story, const FlowRequest& request) {
    Dif dif{{{"a.IPCP", Address{1}}, {"b.IPCP", Address{3}}}, {}};
    dif.applications[request.destination_application.process] = {story.responder};
    return dif;
}

// Port-id 0 was the flow to the neighbour.
void take_port_0(Node& node) { REQUIRE(node.ports.acquire(at_ms(0)) == 0u); }

}  // namespace

TEST_CASE("in the initiator's place") {
    for (const Story& story : stories()) {
        INFO(story.file);
        const std::deque<Said> all = flow_messages(story.file);
        REQUIRE(all.size() >= 4);
        Dif dif = dif_of(story, request_in(all.front().message));
        Node node(dif, story.initiator, options_of(story, story.initiators_id, false));
        take_port_0(node);
        std::size_t allocated = 0, shut = 0;
        for (const Said& said : all) {
            const bool ours = said.source == dif.addresses[story.initiator];
            if (ours) {
                REQUIRE(said.message.op == OpCode::create);
                const FlowRequest request = request_in(said.message);
                REQUIRE(node.allocator.allocate(at_ms(0), request.source_application,
                                                request.destination_application, story.spec, 0,
                                                node.out));
                CHECK(node.one<SendFlowMessage>().to == said.destination);
                CHECK(encode(node.sent()) == encode(said.message));
            } else {
                node.allocator.on_message(at_ms(1), said.source, said.message, node.out);
                allocated += node.all<FlowAllocated>().size();
                shut += node.all<Shut>().size();
                CHECK(node.all<SendFlowMessage>().empty());
                for (const SetPeer& set : node.all<SetPeer>())
                    CHECK(set.terms == terms_for(story.spec, options_of(story, 0, false)
                                                                 .config.policies));
            }
            node.clear();
        }
        CHECK(allocated >= 2);
        CHECK(shut == allocated);
        CHECK(node.allocator.flows() == allocated);
    }
}

TEST_CASE("in the responder's place, also if we could do more") {
    for (const Story& story : stories())
        for (const bool offered : {false, true}) {
            INFO(story.file);
            const std::deque<Said> all = flow_messages(story.file);
            Dif dif = dif_of(story, request_in(all.front().message));
            Node node(dif, story.responder, options_of(story, story.responders_id, offered));
            take_port_0(node);
            std::vector<PortId> ports;
            bool over = false;
            for (const Said& said : all) {
                if (said.source != dif.addresses[story.responder]) {
                    node.allocator.on_message(at_ms(0), said.source, said.message, node.out);
                    continue;
                }
                if (said.message.op == OpCode::create_r) {
                    const PortId port = node.one<FlowRequested>().port;
                    ports.push_back(port);
                    REQUIRE(node.allocator.accept(at_ms(0), port, 0, node.out));
                    CHECK(node.one<Bind>().terms.policies.dialect == efcp::Dialect::rlite);
                    CHECK(encode(node.sent()) == encode(said.message));
                    node.clear();
                    continue;
                }
                REQUIRE(said.message.op == OpCode::remove);
                if (!over)
                    for (const PortId port : ports)
                        REQUIRE(node.allocator.deallocate(at_ms(1000), port, node.out));
                over = true;
                node.clear();
                break;
            }
            REQUIRE(over);
            node.allocator.on_timeout(at_ms(1500), node.out);
            const auto sent = node.all<SendFlowMessage>();
            REQUIRE(sent.size() == ports.size());
            std::set<rina::Bytes> ours, theirs;
            for (const SendFlowMessage& send : sent) {
                CdapMessage message = send.message;
                message.invoke_id = 0;  // in which order the applications closed is not known
                ours.insert(encode(message));
            }
            for (const Said& said : all) {
                if (said.message.op != OpCode::remove) continue;
                CdapMessage message = said.message;
                message.invoke_id = 0;
                theirs.insert(encode(message));
            }
            CHECK(ours == theirs);
            CHECK(node.allocator.flows() == 0);
            CHECK(node.ports.in_use() == 1);
        }
}
