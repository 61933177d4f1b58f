SRCS += proto/desc.c proto/text_form.c proto/config.c proto/msg.c proto/codec_bin.c \
	proto/chan.c proto/chan_in.c proto/chan_recv.c proto/chan_recv_plain.c proto/chan_send.c proto/chan_dup.c \
	proto/chan_wait.c proto/dispatch.c \
	proto/json_scan.c proto/codec_json.c proto/codec_json_put.c \
	proto/kv_text.c proto/codec_kv.c proto/kv_help.c \
	proto/opts.c proto/opts_table.c proto/opts_config.c proto/opts_text.c \
	proto/rules.c proto/rules_device.c proto/rules_runtime.c

# Host tool: documents from the tables.
SCHEMA_PRINT := $(B)/host/schema_print
SCHEMA_PRINT_SRCS := proto/schema_print.c proto/config.c proto/desc.c proto/opts_table.c
$(SCHEMA_PRINT): $(SCHEMA_PRINT_SRCS) $(wildcard proto/*.h proto/*.def)
	$(call say,HOSTCC,proto/schema_print.c)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -I. -g -O1 $(WARN) $(SCHEMA_PRINT_SRCS) -o $@

# The option list of cloister(1), as a piece of mdoc; and the schemas of the configuration that is served.
$(B)/gen/options.mdoc: $(SCHEMA_PRINT)
	$(Q)mkdir -p $(@D)
	$(Q)$(SCHEMA_PRINT) man-options >$@
$(B)/gen/openapi.json: $(SCHEMA_PRINT)
	$(Q)mkdir -p $(@D)
	$(Q)$(SCHEMA_PRINT) openapi >$@
all: $(B)/gen/options.mdoc $(B)/gen/openapi.json
