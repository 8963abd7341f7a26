#include "frames.hpp"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "../whole_file.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/efcp/delimiting.hpp"
#include "normal_dif/core/ipcp/authentication.hpp"
#include "normal_dif/core/ipcp/digest.hpp"
#include "normal_dif/core/mgmt/flow_policies_consent.hpp"
#include "normal_dif/core/sdu_protection/aes_gcm.hpp"
#include "normal_dif/core/sdu_protection/crc32c.hpp"
#include "rina/cdap.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"
#include "rina/rina_arp.hpp"
#include "rina/vmpi.hpp"

namespace sluice::test {

using namespace rina;

namespace {

constexpr std::uint32_t kSnaplen = 65535;
constexpr Address kA{1}, kB{3};

class File {
  public:
    explicit File(pcap::Linktype linktype) {
        const auto header = pcap::file_header(linktype, pcap::Resolution::us, kSnaplen);
        bytes_.assign(header.begin(), header.end());
    }
    void add(const Bytes& frame) {
        std::byte header[pcap::kRecordHeaderBytes];
        const auto size = static_cast<std::uint32_t>(frame.size());
        pcap::put_record_header(header, pcap::stamp_of(now_ns_, pcap::Resolution::us), size, size);
        bytes_.insert(bytes_.end(), std::begin(header), std::end(header));
        bytes_.insert(bytes_.end(), frame.begin(), frame.end());
        now_ns_ += 1'000'000;
    }
    Result<> save(const std::string& path) const { return save_file(path, bytes_); }

  private:
    Bytes bytes_;
    std::int64_t now_ns_ = 1'700'000'000'000'000'000;
};

Bytes text(std::string_view from) {
    Bytes out;
    for (const char c : from)
        out.push_back(static_cast<std::byte>(c));
    return out;
}

// From one end of link number `link` to the other.
Bytes on_wire(unsigned link, bool back, const Bytes& payload, std::size_t at_least = 0) {
    Bytes frame(12, std::byte{0x02});
    frame[back ? 11 : 5] = static_cast<std::byte>(2 * link + 1);
    frame[back ? 5 : 11] = static_cast<std::byte>(2 * link);
    frame.push_back(std::byte{kEtherTypeRina >> 8});
    frame.push_back(std::byte{kEtherTypeRina & 0xff});
    frame.insert(frame.end(), payload.begin(), payload.end());
    if (frame.size() < at_least) frame.resize(at_least);
    return frame;
}

Bytes pdu(Pci pci, const PciFormat& format, const Bytes& body) {
    Bytes out(format.bytes());
    pci.length = static_cast<std::uint32_t>(format.bytes() + body.size());
    write(pci, format, out.data());
    out.insert(out.end(), body.begin(), body.end());
    return out;
}

Pci pci_of(PduType type, Address source, Address destination) {
    Pci pci;
    pci.type = static_cast<std::uint8_t>(type);
    pci.source = source;
    pci.destination = destination;
    return pci;
}
Bytes management(const CdapMessage& m, const PciFormat& format, Address source = kA,
                 Address destination = kThisHop) {
    return pdu(pci_of(PduType::management, source, destination), format,
               encode(m, Emission::sparse));
}
Bytes by_address(const CdapMessage& m, Address source, Address destination) {
    CdapMessage outer;
    outer.op = OpCode::write;
    outer.obj_class = rib::kAData.obj_class;
    outer.obj_name = rib::kAData.obj_name;
    outer.value = value_of(AData{source, destination, m});
    return management(outer, kDefaultFormat, source, destination);
}
Bytes data(const Bytes& user_data, std::uint64_t sequence, const PciFormat& format,
           std::uint32_t cep = 7) {
    Pci pci = pci_of(PduType::data, kA, kB);
    pci.source_cep = CepId{cep};
    pci.destination_cep = CepId{cep + 1};
    pci.sequence = sequence;
    pci.flags = sequence == 0 ? pci_flag::kDrf : pci_flag::kEcn;
    return pdu(pci, format, user_data);
}

CdapMessage connect(OpCode op = OpCode::connect) {
    CdapMessage m;
    m.op = op;
    m.abs_syntax = kAbsSyntax;
    m.invoke_id = 2;
    m.source = AppName{op == OpCode::connect ? "n.2" : "n.1", "1", "", ""};
    m.destination = AppName{op == OpCode::connect ? "n.1" : "n.2", "1", "", ""};
    m.version = kCdapVersion;
    return m;
}
CdapMessage about(OpCode op, RibName object, std::int32_t invoke_id, ObjValue value = {}) {
    CdapMessage m;
    m.op = op;
    m.obj_class = object.obj_class;
    m.obj_name = object.obj_name;
    m.invoke_id = invoke_id;
    m.value = std::move(value);
    m.version = kCdapVersion;
    return m;
}

// ---- Ethernet ----------------------------------------------------------------------------------

void add_sack(File& file, const PciFormat& format, unsigned link) {
    for (const std::uint8_t type :
         {std::uint8_t{0xce}, efcp::kSackNoFlowControl, std::uint8_t{0xcf}, std::uint8_t{0xc4}}) {
        efcp::ControlItem item;
        item.pci = pci_of(PduType::data, kB, kA);
        item.pci.type = type;
        item.pci.destination_cep = CepId{7};
        item.pci.source_cep = CepId{8};
        item.fields = {4, 10, 522, 9, 100, 4000000000};
        if (efcp::has_sack(type)) {
            item.sack.add({12, 14});
            item.sack.add({17, 17});
        }
        const std::size_t blocks = 2 * item.sack.size() * format.sequence;
        item.pci.length = static_cast<std::uint32_t>(format.control_bytes() + blocks);
        Bytes bytes(item.pci.length);
        efcp::write(item, format, bytes.data());
        file.add(on_wire(link, true, bytes));
    }
}

// A handshake with a pre-shared key.
Result<> add_authentication(File& file, unsigned link) {
    mgmt::AuthConfig config;
    config.policy = "psk";
    config.secret = std::string(64, 'a');
    config.entropy = [next = std::uint8_t{1}](std::span<std::byte> out) mutable {
        std::fill(out.begin(), out.end(), std::byte{next++});
        return true;
    };
    SLUICE_TRY(const auto caller, mgmt::Authenticator::create(config, "n.2|1", "x.DIF"));
    config.entropy = [](std::span<std::byte> out) {
        std::fill(out.begin(), out.end(), std::byte{0x99});
        return true;
    };
    SLUICE_TRY(const auto called, mgmt::Authenticator::create(config, "n.1|1", "x.DIF"));
    mgmt::AuthExchange x, y;
    bool good = caller.begin(x) == mgmt::AuthError::none;
    for (int round = 0; round < 2; ++round) {
        CdapMessage request = connect();
        mgmt::Authenticator::attach(x, request);
        file.add(on_wire(link, false, management(request, kDefaultFormat)));
        good = good && called.on_connect(y, request, "n.2|1") == mgmt::AuthError::none;
        CdapMessage answer = connect(OpCode::connect_r);
        answer.result = round == 0 ? mgmt::kAuthContinues : 0;
        answer.reason = round == 0 ? "authentication is wanted" : "";
        mgmt::Authenticator::attach(y, answer);
        file.add(on_wire(link, true, management(answer, kDefaultFormat)));
        good = good && caller.on_answer(x, answer, "n.1|1") == mgmt::AuthError::none;
    }
    if (!good) return fail(EPROTO, "the two ends do not believe each other");
    return {};
}

void add_wide(File& file, unsigned link) {
    const PciFormat& f = kWideFormat;
    file.add(on_wire(link, false, management(connect(), f)));
    file.add(on_wire(link, true, management(connect(OpCode::connect_r), f)));
    NeighborCandidateList list;
    list.candidates.push_back({"n.2", "1", kB, {"e.DIF", "f.DIF"}, 0x0000'0002'0000'0005});
    list.candidates.push_back({"n.1", "1", Address{0xffff'fff0}, {}, 0});
    file.add(on_wire(link, false,
                     management(about(OpCode::create, rib::kNeighbors, 3, value_of(list)), f)));
    const mgmt::TableDigests digests{{1, 0xffff'ffff'ffff'ffff, 3, 0x8000'0000'0000'0000}};
    file.add(on_wire(
        link, false,
        management(about(OpCode::write, mgmt::kDigestObject, 4, mgmt::encode(digests)), f)));
    file.add(on_wire(link, false, data(text("to a connection among many"), 0, f, 1'000'000)));
    add_sack(file, f, link);
}

void add_flow(File& file, unsigned link) {
    FlowRequest request;
    request.source_application = AppName{"camera", "1", "video", ""};
    request.destination_application = AppName{"screen", "", "", ""};
    request.source_port = 40;
    request.source_ipcp = "n.1|1";
    request.destination_ipcp = "n.2|1";
    request.connections.push_back({QosId{0}, CepId{7}, CepId{0}});
    request.qos.sdu_gap_max = -1;
    mgmt::Offer offer;
    offer.features = mgmt::Features::all();
    offer.credit = 4096;
    offer.nonce = 0xfedc'ba98'7654'3210;
    request.access_control = encode(offer);
    const CdapMessage create = about(OpCode::create, rib::kFlow, 9, value_of(request));
    file.add(on_wire(link, false, by_address(create, kA, kB)));
    file.add(on_wire(link, false, by_address(create, kA, kB)));
    request.destination_port = 41;
    request.connections[0].destination_cep = CepId{8};
    request.access_control = encode(mgmt::Answer{offer.features, 2048, QosId{0}}, offer, 41, 8);
    const CdapMessage answer = about(OpCode::create_r, rib::kFlow, 9, value_of(request));
    file.add(on_wire(link, true, by_address(answer, kB, kA)));
    CdapMessage question = about(OpCode::read, rib::kFlow, 10, value_of(request));
    question.obj_name += "/41";
    file.add(on_wire(link, false, by_address(question, kA, kB)));
    CdapMessage gone = about(OpCode::read_r, rib::kFlow, 10);
    gone.obj_name += "/41";
    gone.result = -1;
    gone.reason = "no such flow";
    file.add(on_wire(link, true, by_address(gone, kB, kA)));
}

void add_delimited(File& file, unsigned link) {
    const Bytes sdu(2500, std::byte{'x'});
    std::uint64_t sequence = 0;
    for (const std::uint32_t bytes : {30u, 2500u}) {
        efcp::Fragmenter fragmenter(bytes, 1000);
        while (const auto part = fragmenter.next()) {
            Bytes user_data(part->header.begin(), part->header.begin() + part->header_bytes);
            user_data.insert(user_data.end(), sdu.begin() + part->offset,
                             sdu.begin() + part->offset + part->bytes);
            file.add(on_wire(link, false, data(user_data, sequence++, kDefaultFormat)));
        }
    }
    Bytes room(200);
    efcp::Concatenator several(room);
    for (const std::size_t bytes : {10u, 0u, 99u})
        static_cast<void>(several.add(std::span(sdu).first(bytes)));
    room.resize(several.bytes());
    file.add(on_wire(link, false, data(room, sequence, kDefaultFormat)));
}

Result<> add_protected(File& file, unsigned link) {
    sdup::AesGcmSealer sealer{{}};
    SLUICE_TRY_VOID(sealer.install(sdup::KeyEpoch{5}, sdup::TrafficKey{}));
    const Bytes pdus[] = {management(connect(), kDefaultFormat),
                          data(Bytes(1400, std::byte{'y'}), 3, kDefaultFormat),
                          data(text("x"), 4, kDefaultFormat)};
    for (const Bytes& bytes : pdus) {
        Bytes with_crc = bytes;
        const std::uint32_t crc = sdup::crc32c(bytes);
        with_crc.resize(bytes.size() + sizeof crc);
        detail::store(with_crc.data() + bytes.size(), crc);
        file.add(on_wire(link, false, with_crc, 60));

        Bytes room(bytes.size() + sdup::kGcmHeaderBytes + sdup::kGcmTagBytes);
        std::copy(bytes.begin(), bytes.end(), room.begin() + sdup::kGcmHeaderBytes);
        sdup::Frame frame{room.data() + sdup::kGcmHeaderBytes,
                          static_cast<std::uint32_t>(bytes.size()), sdup::kGcmHeaderBytes,
                          sdup::kGcmTagBytes};
        sealer.seal(Instant{}, std::span(&frame, 1));
        file.add(on_wire(link + 1, false, room, 60));
    }
    return {};
}

// ---- VMPI --------------------------------------------------------------------------------------

Bytes on_channel(std::uint32_t word, const Bytes& sdu) {
    Bytes frame(std::max<std::size_t>(vmpi::kHeaderBytes + sdu.size(), vmpi::kShortFrameBytes));
    std::copy(sdu.begin(), sdu.end(), frame.begin() + vmpi::kHeaderBytes);
    vmpi::seal_frame(frame.data(), word, static_cast<std::uint32_t>(sdu.size()));
    return frame;
}

void add_vmpi(File& file) {
    vmpi::Message m;
    m.epoch = 0xfeed'0000'0000'0001;
    m.peer_epoch = 0x0000'0000'beef'0002;
    m.channel = 70001;
    m.generation = 127;
    m.transaction = 0xffff'fffe;
    m.hello = {11, 0xffff'ffff'ffff'ffff, 33, 0, 1500, 65535, 2048, 1, 1, vmpi::Role::frontend};
    m.source = "camera/1//";
    m.destination = "screen///";
    m.units = 0x1'0000'0000;
    for (std::uint8_t type = 1; type < vmpi::kTypeCount; ++type) {
        m.type = static_cast<vmpi::Type>(type);
        m.code = m.type == vmpi::Type::deallocate ? 7 : 0;
        Bytes frame(vmpi::kHeaderBytes + vmpi::kControlBytesMax);
        frame.resize(vmpi::kHeaderBytes +
                     vmpi::encode(m, std::span(frame).subspan(vmpi::kHeaderBytes)));
        file.add(frame);
    }
    const std::uint32_t word = vmpi::channel_word(m.channel, m.generation);
    for (const std::string_view sdu : {"", "123456789", "1234567890", "a longer one than that"})
        file.add(on_channel(word, text(sdu)));
    file.add(on_channel(word, management(connect(), kDefaultFormat)));
    file.add(on_channel(word, management(connect(OpCode::connect_r), kDefaultFormat)));
    file.add(on_channel(word, data(text("user data"), 5, kDefaultFormat)));
}

void add_irati(File& file) {
    using vmpi::IratiCommand;
    for (const auto& [command, accepted] : {std::pair{IratiCommand::allocate_req, false},
                                            std::pair{IratiCommand::allocate_resp, true},
                                            std::pair{IratiCommand::allocate_resp, false},
                                            std::pair{IratiCommand::deallocate, false}}) {
        const vmpi::IratiMessage m{command, 5, accepted, "camera/1//", "screen///"};
        Bytes frame(vmpi::kHeaderBytes + vmpi::kIratiMessageBytesLimit);
        frame.resize(vmpi::kHeaderBytes +
                     vmpi::encode_irati(m, std::span(frame).subspan(vmpi::kHeaderBytes)));
        file.add(frame);
    }
    Bytes frame = text("....an SDU of three words");
    vmpi::store_le32(frame.data(), 5);
    file.add(frame);
}

}  // namespace

Result<> write_frames(const std::string& folder) {
    File ethernet(pcap::Linktype::ethernet);
    add_wide(ethernet, 1);
    add_sack(ethernet, kDefaultFormat, 2);
    SLUICE_TRY_VOID(add_authentication(ethernet, 3));
    SLUICE_TRY_VOID(add_protected(ethernet, 4));
    // A DIF on top of another.
    ethernet.add(on_wire(6, false, data(management(connect(), kDefaultFormat), 0, kDefaultFormat)));
    SLUICE_TRY_VOID(ethernet.save(folder + "/ethernet.pcap"));

    File delimited(pcap::Linktype::ethernet);
    add_flow(delimited, 7);
    add_delimited(delimited, 7);
    SLUICE_TRY_VOID(delimited.save(folder + "/delimited.pcap"));

    File vmpi(pcap::Linktype::user0);
    add_vmpi(vmpi);
    SLUICE_TRY_VOID(vmpi.save(folder + "/vmpi.pcap"));
    File irati(pcap::Linktype::user0);
    add_irati(irati);
    return irati.save(folder + "/irati.pcap");
}

}  // namespace sluice::test
