#pragma once

#include "rina/cdap.hpp"
#include "rina/protobuf.hpp"

// The fields of a CDAP message, for the codecs of lib/rina only: A_DATA has one inside.
namespace sluice::rina {

template <typename V, pb::Like<ObjValue> T>
void describe(V& v, T& m) {
    v.message("ObjValue");
    v.template alternative<1>(1, "intval", m);
    v.template alternative<2>(2, "sintval", m);
    v.template alternative<3>(3, "int64val", m);
    v.template alternative<4>(4, "sint64val", m);
    v.template alternative<5>(5, "strval", m);
    v.template alternative<6>(6, "byteval", m);
    v.template alternative<7>(7, "floatval", m);
    v.template alternative<8>(8, "doubleval", m);
    v.template alternative<9>(9, "boolval", m);
}

template <typename V, pb::Like<AuthValue> T>
void describe(V& v, T& m) {
    v.message("AuthValue");
    v.field(1, "name", m.name);
    v.field(2, "password", m.password);
    v.field(3, "other", m.other);
}

// rlite writes the empty parts of names only where there must be names.
template <typename V, pb::Like<CdapMessage> T>
void describe(V& v, T& m) {
    using pb::Emit;
    const bool connects = m.op == OpCode::connect || m.op == OpCode::connect_r;
    const Emit names = connects ? Emit::always : Emit::optional;
    v.message("CDAPMessage");
    v.field(1, "abs_syntax", m.abs_syntax, Emit::always);
    v.enumerator(2, "op_code", m.op, OpCode::stop_r, Emit::required);
    v.field(3, "invoke_id", m.invoke_id);
    v.enumerator(4, "flags", m.flags, CdapFlags::read_incomplete, Emit::always);
    v.field(5, "obj_class", m.obj_class, Emit::always);
    v.field(6, "obj_name", m.obj_name, Emit::always);
    v.field(7, "obj_inst", m.obj_instance);
    v.field(8, "obj_value", m.value);
    v.field(9, "result", m.result, Emit::always);
    v.field(10, "scope", m.scope);
    v.field(11, "filter", m.filter);
    v.enumerator(17, "auth_mech", m.auth_mechanism, AuthMechanism::ssh_dsa);
    v.field(18, "auth_value", m.auth);
    v.part(19, "dest_ae_inst", m.destination.entity_instance, names);
    v.part(20, "dest_ae_name", m.destination.entity, names);
    v.part(21, "dest_ap_inst", m.destination.instance, names);
    v.part(22, "dest_ap_name", m.destination.process, names);
    v.part(23, "src_ae_inst", m.source.entity_instance, names);
    v.part(24, "src_ae_name", m.source.entity, names);
    v.part(25, "src_ap_inst", m.source.instance, names);
    v.part(26, "src_ap_name", m.source.process, names);
    v.field(27, "result_reason", m.reason);
    v.field(28, "version", m.version, Emit::always);
}

}  // namespace sluice::rina
