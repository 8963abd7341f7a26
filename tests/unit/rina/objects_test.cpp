#include "rina/objects.hpp"

#include <catch2/catch.hpp>

#include "../bytes.hpp"

using namespace sluice;
using namespace sluice::rina;
using sluice::test::from_hex;
using sluice::test::to_hex;

namespace {

template <typename T>
std::string error_of(const char* hex) {
    const auto object = decode<T>(from_hex(hex));
    return object ? "none" : object.error().message;
}

// As rinaperf's client gets a reliable flow from rlite.
FlowRequest reliable() {
    FlowRequest r;
    r.source_application = {"rinaperf-data", "client", "", ""};
    r.destination_application = {"rinaperf-data", "server", "", ""};
    r.source_port = 1;
    r.source_ipcp = "b.IPCP";
    r.destination_ipcp = "a.IPCP";
    r.connections = {{QosId{0}, CepId{1}, CepId{0}}};
    r.state = 1;
    r.qos.in_order_delivery = true;
    r.policies.dtcp_present = true;
    r.policies.dtcp.flow_control = true;
    r.policies.dtcp.flow.window_based = true;
    r.policies.dtcp.flow.window = WindowCfg{128, 512, {}, {}};
    r.policies.dtcp.retransmission_control = true;
    r.policies.dtcp.retransmission.time_to_retry_max = 15;
    r.policies.dtcp.retransmission.data_rxmsn_max = 10;
    r.policies.dtcp.retransmission.initial_timeout_ms = 1000;
    r.policies.initial_a_timer_ms = 20;
    r.create_retries_max = 3;
    return r;
}

}  // namespace

TEST_CASE("enrollment: what is absent and what is zero") {
    EnrollmentInfo info;
    CHECK(encode(info).empty());
    info.start_early = true;
    CHECK(to_hex(encode(info)) == "1801");
    info.start_early = false;
    CHECK(to_hex(encode(info, Emission::sparse)) == "1800");
    CHECK(*decode<EnrollmentInfo>(from_hex("1800")) == info);
    info = {};
    info.address = Address{0};
    info.lower_difs = {"e.DIF", "f.DIF"};
    CHECK(to_hex(encode(info)) == "0800" "1205652e444946" "1205662e444946");
    CHECK(*decode<EnrollmentInfo>(encode(info)) == info);
    info.constants = DataTransferConstants{};
    CHECK(to_hex(encode(info, Emission::sparse)) ==
          "0800" "1205652e444946" "1205662e444946" "2200");
    CHECK(decode<EnrollmentInfo>(encode(info, Emission::sparse))->constants.has_value());
}

TEST_CASE("the constants of rlite's default flavour") {
    CHECK(to_hex(encode(rlite_constants())) ==
          "08808004" "1004" "1802" "2002" "2802" "3004" "3802" "4080808080f8ffffffff01"
          "48a01f" "5000" "5800" "6000" "68e807" "70c801" "880104");
}

TEST_CASE("a flow request of rlite") {
    const FlowRequest r = reliable();
    const std::string apps =
        "0a1b0a0d72696e61706572662d646174611206636c69656e741a002200"
        "121b0a0d72696e61706572662d6461746112067365727665721a002200";
    CHECK(to_hex(encode(r)) ==
          apps + "1801" "2000" "2a06622e49504350" "3206612e49504350"
                 "3a06080010011800" "4000" "4801"
                 "5208" "180040004801" "5000"
                 "5a21" "0801" "121b" "0801" "120c" "0801" "1206" "088001108004" "1800"
                 "1801" "2207" "080f100a48e807" "3814"
                 "6803" "7000" "7800");
    CHECK(*decode<FlowRequest>(encode(r)) == r);
    CHECK(*decode<FlowRequest>(encode(r, Emission::sparse)) == r);
}

// Made from rlite's schema by hand and not by our writer, every field with a value of its own: the
// fields that rlite never sends are in no trace.
TEST_CASE("every field of an object has its number") {
    DataTransferConstants c{301, 302, 303, 304, 305, 306, 307,  308, 309,
                            true, true, true, 313, 314, 315, 316, 317};
    CHECK(to_hex(encode(c)) ==
          "08ad0210ae0218af0220b00228b10230b20238b30240b40248b50250015801600168b90270ba0278"
          "bb028001bc028801bd02");

    QosSpec q{"q", 102, 103, 104, 105, 106, 0.5, true, true, -2, 111, 112, {{"k", "w"}}};
    CHECK(to_hex(encode(q)) ==
          "0a01711066186720682869306a39000000000000e03f4001480150feffffffffffffffff01586f60"
          "706a060a016b120177");

    const auto policy = [](const char* name) {
        return Boxed<PolicyDescr>(PolicyDescr{name, "", "", {}});
    };
    ConnPolicies p;
    p.dtcp_present = true;
    p.receiver_inactivity = policy("c3");
    p.sender_inactivity = policy("c4");
    p.initial_sequence = policy("c5");
    p.sequence_rollover_threshold = 8;
    p.initial_a_timer_ms = 9;
    DtcpConfig& d = p.dtcp;
    d.flow_control = d.retransmission_control = true;
    d.lost_control_pdu = policy("d5");
    d.rtt_estimator = PolicyDescr{"n", "i", "v", {{"a", "b"}}};
    d.retransmission = {5,           6,           policy("x3"), policy("x4"), policy("x5"),
                        policy("x6"), policy("x7"), policy("x8"), 7};
    FlowCtrlConfig& f = d.flow;
    f.window_based = f.rate_based = true;
    f.window = WindowCfg{1, 2, policy("w3"), policy("w4")};
    f.rate = RateCfg{3, 4, policy("r3"), policy("r4"), policy("r5")};
    f.sent_bytes_threshold = 205;
    f.sent_bytes_percent_threshold = 206;
    f.sent_buffers_threshold = 207;
    f.received_bytes_threshold = 208;
    f.received_bytes_percent_threshold = 209;
    f.received_buffers_threshold = 210;
    f.closed_window = policy("f11");
    f.overrun = policy("f12");
    f.reconcile = policy("f13");
    f.receiving = policy("f14");
    CHECK(to_hex(encode(p)) ==
          "080112a7010801125c08011210080110021a040a02773322040a02773418012216080310041a040a"
          "02723322040a0272342a040a02723528cd0130ce0138cf0140d00148d10150d2015a050a03663131"
          "62050a036631326a050a0366313372050a036631341801222a080510061a040a02783322040a0278"
          "342a040a02783532040a0278363a040a02783742040a02783848072a040a02643532110a016e1201"
          "691a017622060a01611201621a040a02633322040a0263342a040a02633530083809");
}

TEST_CASE("pieces of a part that may be absent are one part") {
    EnrollmentInfo info;
    info.constants = DataTransferConstants{};
    info.constants->pdu_bytes_max = 1000;
    info.constants->address_width = 4;
    CHECK(*decode<EnrollmentInfo>(from_hex("220308e807" "22021004")) == info);
    ConnPolicies p;
    p.initial_sequence = PolicyDescr{"a", "b", "", {}};
    CHECK(*decode<ConnPolicies>(from_hex("2a030a0161" "2a03120162")) == p);
}

TEST_CASE("what is no object, and where") {
    CHECK(error_of<DftSlice>("0a00") ==
          "DFTEntry.appl_name: required, and missing (byte 2 of 2)");
    CHECK(error_of<DftSlice>("0a05 0a030a0161") ==
          "DFTEntry.ipcp_name: required, and missing (byte 7 of 7)");
    CHECK(error_of<DftSlice>("0a09 0a031a0161 12026161") ==
          "APName.ap_name: required, and missing (byte 7 of 11)");
    CHECK(error_of<DftSlice>("0a0a 0a040a02617c 12026161") ==
          "APName.ap_name: '|' within a part of a name (byte 4 of 12)");
    CHECK(error_of<AddrAllocRequest>("0a0161") ==
          "AddrAllocRequest.address: required, and missing (byte 3 of 3)");
    CHECK(error_of<ConnId>("08808004") == "ConnId.qosid: number out of range (byte 0 of 4)");
    CHECK(error_of<ConnId>("10808080808001") ==
          "ConnId.src_cep: number out of range (byte 0 of 7)");
    CHECK(error_of<AData>("0801 1002") ==
          "AData.cdap_msg: required, and missing (byte 4 of 4)");
    CHECK(error_of<AData>("0801 1002 1a00") ==
          "CDAPMessage.op_code: required, and missing (byte 6 of 6)");
    CHECK(error_of<LowerFlowList>("0a04 0a02611b") ==
          "LowerFlow.local_node: control character in text (byte 2 of 6)");
}

TEST_CASE("lists are bounded") {
    Bytes bytes;
    for (int i = 0; i < 1024; ++i) bytes.insert(bytes.end(), {std::byte{0x0a}, std::byte{0}});
    const auto list = decode<LowerFlowList>(bytes);
    REQUIRE(list);
    CHECK(list->flows.size() == 1024);
    bytes.insert(bytes.end(), {std::byte{0x0a}, std::byte{0}});
    CHECK(decode<LowerFlowList>(bytes).error().message ==
          "LowerFlowList.flows: too many list elements (byte 2048 of 2050)");
    // The bound is on all lists of a message together.
    NeighborCandidateList neighbors{{{"a", "", Address{1}, std::vector<std::string>(600)},
                                     {"b", "", Address{2}, std::vector<std::string>(422)}}};
    CHECK(*decode<NeighborCandidateList>(encode(neighbors)) == neighbors);
    neighbors.candidates[1].lower_difs.emplace_back();
    CHECK_FALSE(decode<NeighborCandidateList>(encode(neighbors)));
}

TEST_CASE("addresses of A_DATA") {
    AData a;
    a.message.op = OpCode::remove;
    a.source = Address{0x8000'0001};
    a.destination = Address{1};
    // An int32 of rlite, whose sign reaches to bit 63.
    CHECK(to_hex(encode(a, Emission::sparse)) == "0881808080f8ffffffff01" "1001" "1a021006");
    CHECK(*decode<AData>(encode(a)) == a);
    a.source = Address{0x1'0000'0001};
    a.destination = Address{0xffff'ffff'7fff'ffff};
    CHECK(*decode<AData>(encode(a)) == a);
    // Of two messages the second one, whole.
    const auto twice = decode<AData>(from_hex("1a04 1004 1805" "1a02 1006"));
    REQUIRE(twice);
    CHECK(twice->message.op == OpCode::remove);
    CHECK(twice->message.invoke_id == 0);
}

TEST_CASE("the object of a message is that of its class") {
    CdapMessage m;
    m.op = OpCode::create;
    m.obj_class = rib::kDft.obj_class;
    m.obj_name = rib::kDft.obj_name;
    CHECK(object_of(m)->index() == 0);
    const DftSlice slice{{{{"app", "1", "", ""}, "a.IPCP", 7}}};
    m.value = value_of(slice);
    CHECK(std::get<DftSlice>(*object_of(m)) == slice);
    m.value = from_hex("0a00");
    CHECK(object_of(m).error().message ==
          "DFTEntry.appl_name: required, and missing (byte 2 of 2)");
    m.value = std::string("text");
    CHECK(object_of(m).error().message ==
          "M_CREATE of class dft_entries with a value that is no object");
    m.obj_class = "policy";
    CHECK(object_of(m)->index() == 0);
    CHECK(value_of(RibObject{}).index() == 0);
}

TEST_CASE("the parts that nobody sends take little memory") {
    CHECK(sizeof(FlowRequest) <= 1200);
    ConnPolicies p;
    p.initial_sequence = PolicyDescr{"zero", "", "1", {{"a", "b"}}};
    const ConnPolicies copy = p;
    CHECK(copy == p);
    CHECK(*decode<ConnPolicies>(encode(p)) == p);
    p.initial_sequence->name = "random";
    CHECK_FALSE(copy == p);
    CHECK_FALSE(copy == ConnPolicies{});
}

TEST_CASE("a member's version is a field of ours, and absent where there is none") {
    NeighborCandidate member{"a", "", Address{1}, {"n.DIF"}};
    const Bytes as_rlite = encode(member);
    member.version = (std::uint64_t{7} << 32) | 3;
    const Bytes ours = encode(member);
    CHECK(ours.size() > as_rlite.size());
    // Behind all that rlite reads, which skips it.
    CHECK(std::equal(as_rlite.begin(), as_rlite.end(), ours.begin()));
    CHECK(*decode<NeighborCandidate>(ours) == member);
    CHECK(decode<NeighborCandidate>(as_rlite)->version == 0);
}
