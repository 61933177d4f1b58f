/* SPDX-License-Identifier: ISC */
#ifndef PROTO_VERSION_H
#define PROTO_VERSION_H

/* The level of the reference whose interface this is; clients gate features on it. */
#define CLOISTER_VERSION "54.0.0"
#define CLOISTER_BUILD "v" CLOISTER_VERSION
#define CLOISTER_MIGRATION_VERSIONS "0"

/* Compiled-in features in the documented order: X(name), told by vmm.ping and --version -v. */
#define CLOISTER_FEATURES(X) X("kvm")

/* Of the message set; told in every hello. Raised when any message or config object changes. */
#define PROTO_VERSION 1u

#endif
