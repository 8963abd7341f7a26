#include "lines.hpp"

#include <fmt/format.h>

#include <map>
#include <string_view>
#include <vector>

#include "../whole_file.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/efcp/delimiting.hpp"
#include "normal_dif/core/ipcp/digest.hpp"
#include "normal_dif/core/mgmt/flow_policies_consent.hpp"
#include "normal_dif/core/sdu_protection/crc32c.hpp"
#include "pcap_writer/pcap_reader.hpp"
#include "rina/cdap.hpp"
#include "rina/inet_checksum.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"
#include "rina/rina_arp.hpp"
#include "rina/rlite_name.hpp"
#include "rina/vmpi.hpp"

namespace sluice::test {

using namespace rina;

namespace {

using View = std::span<const std::byte>;

unsigned be16(View bytes, std::size_t at) {
    return (std::to_integer<unsigned>(bytes[at]) << 8) | std::to_integer<unsigned>(bytes[at + 1]);
}

// One packet.
class Line {
  public:
    Line(bool delimited, bool irati) : delimited_(delimited), irati_(irati) {}

    Result<> ethernet(View frame);
    Result<> vmpi(View frame);
    std::string text() const;

  private:
    Result<> udp(View packet);
    Result<> arp(View bytes);
    Result<> shim_sdu(View bytes);
    Result<> pdu(View bytes, const Pci& pci, const PciFormat& format);
    void control(View pdu, const Pci& pci, const PciFormat& format);
    Result<> user_data(View bytes);
    void delimited_data(View bytes);
    Result<> cdap(const CdapMessage& message);
    Result<> object(const CdapMessage& message);
    void object(const EnrollmentInfo& o);
    void object(const FlowRequest& o);
    void consent(const Bytes& bytes);
    Result<> vmpi_control(View bytes);
    Result<> irati(View frame);

    template <typename T>
    void add(const std::string& name, const T& value) {
        fields_[name].push_back(fmt::format("{}", value));
    }
    // Not if absent: that is what it means, too.
    template <typename T>
    void add_some(const std::string& name, const T& value) {
        if (value != T{}) add(name, value);
    }
    void add_name(const std::string& prefix, const AppName& name) {
        add_some(prefix + "ap_name", name.process);
        add_some(prefix + "ap_instance", name.instance);
        add_some(prefix + "ae_name", name.entity);
        add_some(prefix + "ae_instance", name.entity_instance);
    }

    bool delimited_, irati_;
    std::map<std::string, std::vector<std::string>> fields_;
};

std::string Line::text() const {
    std::string line;
    for (const auto& [name, values] : fields_)
        line += fmt::format("{}={}\t", name, fmt::join(values, ";"));
    return line;
}

// ---- shims -------------------------------------------------------------------------------------

Result<> Line::ethernet(View frame) {
    std::size_t at = 12;
    if (frame.size() < at + 6) return fail(EBADMSG, "less than Ethernet and a VLAN tag");
    if (be16(frame, at) == 0x8100) at += 4;
    const unsigned type = be16(frame, at);
    const View payload = frame.subspan(at + 2);
    if (type == kEtherTypeRina) return shim_sdu(payload);
    if (type == kEtherTypeArp) return arp(payload);
    if (type == 0x0800) return udp(payload);
    return {};
}

Result<> Line::udp(View packet) {
    constexpr std::size_t kUdpBytes = 8;
    if (packet.size() < 20 || packet[9] != std::byte{17}) return {};
    const std::size_t header = 4 * (std::to_integer<std::size_t>(packet[0]) & 15);
    if (packet.size() < header + kUdpBytes) return fail(EBADMSG, "less than a header of UDP");
    const std::size_t bytes = be16(packet, header + 4);
    if (bytes < kUdpBytes || packet.size() < header + bytes) return fail(EBADMSG, "UDP length");
    return shim_sdu(packet.subspan(header + kUdpBytes, bytes - kUdpBytes));
}

Result<> Line::arp(View bytes) {
    RinaArp arp;
    const ArpError error = parse(bytes, arp);
    if (error == ArpError::other_protocol) return {};
    if (error != ArpError::none) return fail(EBADMSG, "RINA-ARP error {}", int(error));
    add("rina.arp.opcode", static_cast<int>(arp.operation));
    add("rina.arp.sender", arp.sender);
    add("rina.arp.target", arp.target);
    return {};
}

Result<> Line::shim_sdu(View bytes) {
    using detail::load;
    constexpr std::size_t kGcmOverhead = 32;
    if (bytes.size() >= kGcmOverhead && bytes[0] == std::byte{1} && bytes[1] == std::byte{0}) {
        add("rina.sdup.epoch", load<std::uint16_t>(bytes.data() + 2));
        add("rina.sdup.length", load<std::uint32_t>(bytes.data() + 4));
        add("rina.sdup.counter", load<std::uint64_t>(bytes.data() + 8));
        return {};
    }
    // With a CRC at most behind it, or the padding of a short frame; else with anything.
    for (const bool exactly : {true, false})
        for (const PciFormat& format : {kDefaultFormat, kWideFormat}) {
            Pci pci;
            if (parse(bytes, bytes.size(), format, pci) != PciError::none) continue;
            const std::size_t more = bytes.size() - pci.length;
            if (exactly && more != 0 && more != 4 && bytes.size() > 46) continue;
            SLUICE_TRY_VOID(pdu(bytes.first(pci.length), pci, format));
            if (more < 4) return {};
            const auto crc = load<std::uint32_t>(bytes.data() + pci.length);
            if (crc == sdup::crc32c(bytes.first(pci.length)))
                add("rina.sdup.crc32c", fmt::format("{:#010x}", crc));
            return {};
        }
    add("rina.payload", "1");
    return {};
}

// ---- PDUs --------------------------------------------------------------------------------------

Result<> Line::pdu(View bytes, const Pci& pci, const PciFormat& format) {
    add("rina.pci.type", fmt::format("{:#04x}", pci.type));
    add("rina.pci.flags", fmt::format("{:#06x}", pci.flags));
    add("rina.pci.checksum", fmt::format("{:#06x}", pci.checksum));
    add("rina.pci.ttl", pci.ttl);
    add("rina.pci.seq", pci.sequence);
    add("rina.pci.dst", pci.destination.value);
    add("rina.pci.src", pci.source.value);
    add("rina.pci.dst_cep", pci.destination_cep.value);
    add("rina.pci.src_cep", pci.source_cep.value);
    add("rina.pci.length", pci.length);
    add("rina.pci.qos", pci.qos.value);
    if (pci.checksum != 0)
        add("rina.pci.checksum.status", has_inet_checksum(bytes) ? "good" : "bad");
    const View body = bytes.subspan(format.bytes());
    if (is_control(pci.type)) {
        control(bytes, pci, format);
    } else if (pci.type == static_cast<std::uint8_t>(PduType::data)) {
        return user_data(body);
    } else {
        SLUICE_TRY(const CdapMessage message, decode_cdap(body));
        SLUICE_TRY_VOID(check(message));
        return cdap(message);
    }
    return {};
}

void Line::control(View bytes, const Pci& pci, const PciFormat& format) {
    const ControlPdu fields = parse_control(bytes, format);
    add("rina.control.last", fields.last_control_received);
    add("rina.control.ack", fields.ack);
    add("rina.control.new_rwe", fields.new_rwe);
    add("rina.control.new_lwe", fields.new_lwe);
    add("rina.control.my_lwe", fields.my_lwe);
    add("rina.control.my_rwe", fields.my_rwe);
    if (!efcp::has_sack(pci.type)) return;
    const auto blocks = efcp::parse_sack(bytes, format);
    if (!blocks) return;
    for (const efcp::SackBlock& block : *blocks) {
        add("rina.sack.first", block.first);
        add("rina.sack.last", block.last);
    }
}

Result<> Line::user_data(View bytes) {
    if (delimited_) {
        delimited_data(bytes);
        return {};
    }
    Pci pci;
    if (parse(bytes, bytes.size(), kDefaultFormat, pci) == PciError::none &&
        pci.length == bytes.size())
        return pdu(bytes, pci, kDefaultFormat);
    if (!bytes.empty()) add("rina.payload", "1");
    return {};
}

void Line::delimited_data(View bytes) {
    using namespace efcp::delimiter;
    const auto kind = std::to_integer<std::uint8_t>(bytes[0]);
    add("rina.delimiting.kind", fmt::format("{:#04x}", kind));
    if (kind == kFirst)
        add("rina.delimiting.sdu_length", detail::load<std::uint32_t>(bytes.data() + 1));
    if (kind == kWhole) add("rina.payload", "1");
    if (kind != kSeveral) return;
    for (std::size_t at = kHeaderBytes; at < bytes.size();) {
        const auto length = detail::load<std::uint16_t>(bytes.data() + at);
        add("rina.delimiting.sdu_length", length);
        if (length != 0) add("rina.payload", "1");
        at += kLengthBytes + length;
    }
}

// ---- CDAP --------------------------------------------------------------------------------------

Result<> Line::cdap(const CdapMessage& m) {
    add("rina.cdap.opcode", static_cast<int>(m.op));
    add_some("rina.cdap.abs_syntax", m.abs_syntax);
    add_some("rina.cdap.invoke_id", m.invoke_id);
    add_some("rina.obj.class", m.obj_class);
    add_some("rina.obj.name", m.obj_name);
    add_some("rina.cdap.result", m.result);
    add_some("rina.cdap.reason", m.reason);
    add_some("rina.cdap.version", m.version);
    add_some("rina.cdap.auth_mech", static_cast<int>(m.auth_mechanism));
    add_some("rina.cdap.src_ap_name", m.source.process);
    add_some("rina.cdap.src_ap_inst", m.source.instance);
    add_some("rina.cdap.dest_ap_name", m.destination.process);
    add_some("rina.cdap.dest_ap_inst", m.destination.instance);
    if (m.auth.other.size() >= 4) {
        add("rina.proof.kind", std::to_integer<int>(m.auth.other[1]));
        add("rina.proof.mechanism", std::to_integer<int>(m.auth.other[2]));
    }
    if (const auto* text = std::get_if<std::string>(&m.value)) add("rina.value.str", *text);
    if (m.obj_class == mgmt::kDigestObject.obj_class) {
        const auto digests = mgmt::digests_in(m.value);
        if (!digests) return fail(EBADMSG, "digest object");
        const char* const names[] = {"members", "links", "directory", "addresses"};
        for (std::size_t i = 0; i < mgmt::TableDigests::kTables; ++i)
            add(fmt::format("rina.digest.{}", names[i]), fmt::format("{:#018x}", digests->of[i]));
        return {};
    }
    return object(m);
}

void Line::object(const EnrollmentInfo& o) {
    if (o.address) add_some("rina.enrollment.address", o.address->value);
    for (const std::string& dif : o.lower_difs)
        add("rina.enrollment.lower_difs", dif);
    if (!o.constants) return;
    add_some("rina.constants.max_pdu_size", o.constants->pdu_bytes_max);
    add("rina.constants.seq_rollover_thresh",
        fmt::format("{:#018x}", o.constants->sequence_rollover_threshold));
    add_some("rina.constants.ctrl_seq_num_width", o.constants->control_sequence_width);
}

void Line::object(const FlowRequest& o) {
    add_name("rina.app.", o.source_application);
    add_name("rina.app.", o.destination_application);
    add_some("rina.flow_request.src_port", o.source_port);
    add_some("rina.flow_request.dst_port", o.destination_port);
    add("rina.flow_request.src_ipcp", o.source_ipcp);
    add("rina.flow_request.dst_ipcp", o.destination_ipcp);
    for (const ConnId& c : o.connections) {
        add_some("rina.connection.src_cep", c.source_cep.value);
        add_some("rina.connection.dst_cep", c.destination_cep.value);
    }
    add_some("rina.qos.max_sdu_gap", o.qos.sdu_gap_max);
    add_some("rina.qos.avg_bw", o.qos.average_bandwidth_bps);
    add_some("rina.policies.initial_a_timer", o.policies.initial_a_timer_ms);
    const DtcpConfig& dtcp = o.policies.dtcp;
    add_some("rina.rtx_ctrl.initial_rtx_timeout", dtcp.retransmission.initial_timeout_ms);
    if (dtcp.flow.window) add_some("rina.window.initial_credit", dtcp.flow.window->initial_credit);
    consent(o.access_control);
}

void Line::consent(const Bytes& bytes) {
    if (bytes.size() < 36) return;
    const auto offer = mgmt::offer_in(bytes);
    add("rina.consent.magic", offer ? "SLFO" : "SLFA");
    add("rina.consent.features",
        fmt::format("{:#06x}", detail::load<std::uint16_t>(bytes.data() + 6)));
    add("rina.consent.credit", detail::load<std::uint32_t>(bytes.data() + 8));
    if (offer) add("rina.consent.nonce", fmt::format("{:#018x}", offer->nonce));
    add("rina.consent.loss", offer ? offer->max_loss : 0);
}

Result<> Line::object(const CdapMessage& message) {
    SLUICE_TRY(const RibObject any, object_of(message));
    if (const auto* o = std::get_if<EnrollmentInfo>(&any)) object(*o);
    if (const auto* o = std::get_if<FlowRequest>(&any)) object(*o);
    if (const auto* list = std::get_if<NeighborCandidateList>(&any))
        for (const NeighborCandidate& c : list->candidates) {
            add_some("rina.neighbor.ap_name", c.process);
            add_some("rina.neighbor.address", c.address.value);
            for (const std::string& dif : c.lower_difs)
                add("rina.neighbor.lower_difs", dif);
            if (c.version != 0) add("rina.neighbor.version", fmt::format("{:#018x}", c.version));
        }
    if (const auto* list = std::get_if<LowerFlowList>(&any))
        for (const LowerFlow& f : list->flows) {
            add("rina.link.local_node", f.local_node);
            add("rina.link.remote_node", f.remote_node);
            add_some("rina.link.seqnum", f.sequence);
            add_some("rina.link.age", f.age_s);
        }
    if (const auto* slice = std::get_if<DftSlice>(&any))
        for (const DftEntry& e : slice->entries) {
            add_name("rina.app.", e.application);
            add("rina.dft.ipcp", e.ipcp);
            add_some("rina.dft.seqnum", e.sequence);
        }
    const auto claim = [this](const AddrAllocRequest& r) {
        add("rina.address.requestor", r.requestor);
        add("rina.address.address", r.address.value);
    };
    if (const auto* request = std::get_if<AddrAllocRequest>(&any)) claim(*request);
    if (const auto* list = std::get_if<AddrAllocEntries>(&any))
        for (const AddrAllocRequest& r : list->entries)
            claim(r);
    if (const auto* a_data = std::get_if<AData>(&any)) {
        add_some("rina.a_data.src_addr", a_data->source.value);
        add_some("rina.a_data.dst_addr", a_data->destination.value);
        return cdap(a_data->message);
    }
    return {};
}

// ---- VMPI --------------------------------------------------------------------------------------

Result<> Line::vmpi(View frame) {
    using namespace rina::vmpi;
    if (frame.size() < kHeaderBytes) return fail(EBADMSG, "less than a channel word");
    if (irati_) return irati(frame);
    const std::uint32_t word = load_le32(frame.data());
    add("vmpi.channel", channel_of(word));
    add("vmpi.generation", generation_of(word));
    if (word == kControlChannel) return vmpi_control(frame.subspan(kHeaderBytes));
    if (channel_of(word) == kControlChannel) return fail(EBADMSG, "channel 0 of a generation");
    View sdu = frame.subspan(kHeaderBytes);
    if (frame.size() < kShortFrameBytes) return fail(EBADMSG, "less than a short frame");
    if (is_short(word)) {
        const auto bytes = std::to_integer<std::size_t>(frame[kShortFrameBytes - 1]);
        if (frame.size() != kShortFrameBytes || bytes > kShortSduMax)
            return fail(EBADMSG, "no short frame");
        sdu = sdu.first(bytes);
        add("vmpi.sdu_length", bytes);
    }
    // Nothing pads them; there may be a CRC.
    for (const PciFormat& format : {kDefaultFormat, kWideFormat}) {
        Pci pci;
        if (parse(sdu, sdu.size(), format, pci) != PciError::none) continue;
        const std::size_t more = sdu.size() - pci.length;
        if (more == 0 || more == 4) return pdu(sdu.first(pci.length), pci, format);
    }
    if (!sdu.empty()) add("rina.payload", "1");
    return {};
}

Result<> Line::vmpi_control(View bytes) {
    using namespace rina::vmpi;
    Message m;
    const ParseError error = parse(bytes, m);
    if (error != ParseError::none) return fail(EBADMSG, "VMPI: {}", to_string(error));
    add("vmpi.type", static_cast<int>(m.type));
    add("vmpi.epoch", fmt::format("{:#018x}", m.epoch));
    add("vmpi.peer_epoch", fmt::format("{:#018x}", m.peer_epoch));
    add("vmpi.transaction", m.transaction);
    if (m.type == Type::hello) {
        add("vmpi.hello.challenge", fmt::format("{:#018x}", m.hello.challenge));
        add("vmpi.hello.nonce", fmt::format("{:#018x}", m.hello.nonce));
        add("vmpi.hello.max_sdu", m.hello.max_sdu);
        add("vmpi.hello.max_channels", m.hello.max_channels);
        add("vmpi.hello.credit_unit", m.hello.credit_unit);
        add("vmpi.hello.role", static_cast<int>(m.hello.role));
        return {};
    }
    if (m.type > Type::credit_probe) return {};
    add("vmpi.about.channel", m.channel);
    add("vmpi.about.generation", m.generation);
    if (m.type == Type::allocate_req) {
        // Names with control characters are refused where they are taken as names.
        if (has_control_character(m.source) || has_control_character(m.destination))
            return fail(EBADMSG, "control characters");
        add("vmpi.source", m.source);
        add("vmpi.destination", m.destination);
    }
    if (m.type == Type::allocate_resp) add("vmpi.result", m.code);
    if (m.type == Type::deallocate) add("vmpi.reason", m.code);
    if (m.type == Type::credit) add("vmpi.limit", m.units);
    if (m.type == Type::credit_probe) add("vmpi.sent", m.units);
    return {};
}

Result<> Line::irati(View frame) {
    using namespace rina::vmpi;
    const std::uint32_t channel = load_le32(frame.data());
    add("vmpi.channel", channel);
    if (channel > kIratiChannelsMax) return fail(EBADMSG, "channel {}", channel);
    const View sdu = frame.subspan(kHeaderBytes);
    if (channel != kControlChannel) {
        if (!sdu.empty()) add("rina.payload", "1");
        return {};
    }
    IratiMessage m;
    const ParseError error = parse_irati(sdu, m);
    if (error != ParseError::none) return fail(EBADMSG, "VMPI: {}", to_string(error));
    add("vmpi.irati.command", static_cast<int>(m.command));
    add("vmpi.about.channel", m.channel);
    if (m.command == IratiCommand::allocate_resp)
        add("vmpi.irati.response", std::to_integer<int>(sdu[5]));
    if (m.command != IratiCommand::allocate_req) return {};
    if (has_control_character(m.source) || has_control_character(m.destination))
        return fail(EBADMSG, "control characters");
    add("vmpi.source", m.source);
    add("vmpi.destination", m.destination);
    return {};
}

}  // namespace

Result<std::string> lines_of(const std::string& path) {
    SLUICE_TRY(const std::vector<std::byte> bytes, load_file(path));
    SLUICE_TRY(auto reader, pcap::Reader::open(bytes, path));
    const auto is_named = [&path](const char* what) {
        return path.find(what) != std::string::npos;
    };
    std::string text;
    for (;;) {
        SLUICE_TRY(const auto record, reader.next());
        if (!record) return text;
        Line line(is_named("delimited"), is_named("irati"));
        const bool is_vmpi = reader.linktype() == pcap::Linktype::user0;
        const auto result = is_vmpi ? line.vmpi(record->data) : line.ethernet(record->data);
        text += result ? line.text() : "error=" + result.error().message;
        text += '\n';
    }
}

}  // namespace sluice::test
