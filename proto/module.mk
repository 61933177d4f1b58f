SRCS += proto/desc.c proto/config.c proto/msg.c proto/codec_bin.c \
	proto/chan.c proto/chan_in.c proto/chan_recv.c proto/chan_recv_plain.c proto/chan_send.c proto/chan_dup.c \
	proto/chan_wait.c proto/dispatch.c \
	proto/json_scan.c proto/codec_json.c proto/codec_json_put.c \
	proto/kv_text.c proto/codec_kv.c proto/kv_help.c
