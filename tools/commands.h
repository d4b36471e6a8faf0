/* tools/commands.h: where the commands of main.c's table come from. */
#pragma once

#include "cli.h"

extern const struct command submit_command;                                              /* submit.c */
extern const struct command work_command;                                                /* work.c */
extern const struct command task_ls_command, task_show_command, task_wait_command;       /* task.c */
extern const struct command task_why_command;                                            /* why.c */
extern const struct command task_cancel_command, task_retry_command, task_interrupt_command, task_tree_command;
extern const struct command task_pause_command, task_resume_command, task_step_command;
extern const struct command task_watch_command;                                          /* watch.c */
extern const struct command queue_ls_command, queue_show_command, queue_create_command;  /* queue.c */
extern const struct command queue_set_command, queue_peek_command, queue_purge_command;
extern const struct command queue_pause_command, queue_resume_command, queue_rm_command;
extern const struct command dlq_ls_command, dlq_show_command;                            /* dlq.c */
extern const struct command dlq_redrive_command, dlq_purge_command;
extern const struct command dlq_jobs_command, dlq_stop_command; /* redrive.c */
int redrive_in_broker(struct cli *cli, uint64_t dead); /* of dlq redrive with a rate; `dead`: letters in the queue */
extern const struct command stats_command, checkpoint_command, node_reload_command;                     /* stats.c */
extern const struct command bench_task_command, bench_submit_command, bench_drain_command; /* bench_task.c */
extern const struct command bench_disk_command;                                          /* bench_disk.c */
extern const struct command schedule_add_command, schedule_ls_command, schedule_show_command; /* schedule.c */
extern const struct command schedule_rm_command, schedule_pause_command, schedule_resume_command, schedule_run_command;
extern const struct command type_register_command, type_ls_command, type_show_command;     /* type.c */
extern const struct command type_check_command, type_diff_command, type_rm_command;
extern const struct command bench_schema_command;                                          /* bench_schema.c */
extern const struct command worker_ls_command, worker_show_command, worker_drain_command, worker_stop_command,
	worker_kick_command, worker_block_command, worker_unblock_command;                /* worker.c */
extern const struct command call_command;                                                /* call.c */
extern const struct command bind_command;                                                /* bind.c */
extern const struct command bench_call_command;                                          /* bench_call.c */
extern const struct command bridge_command;                                              /* bridge.c */
extern const struct command serve_command;                                               /* serve.c */
extern const struct command directory_ls_command, directory_resolve_command, directory_watch_command; /* directory.c */
extern const struct command fsck_command;                                                /* fsck.c */
extern const struct command publish_command, subscribe_command, events_command;         /* publish.c */
extern const struct command queue_bind_command, queue_unbind_command;                     /* topic.c */
extern const struct command subscription_add_command, subscription_ls_command, subscription_rm_command;
extern const struct command group_ls_command, group_show_command, group_cancel_command;    /* group.c */
extern const struct command principal_ls_command, principal_show_command, principal_add_command; /* access.c */
extern const struct command principal_set_command, principal_rm_command, token_ls_command, token_add_command;
extern const struct command token_rotate_command, token_rm_command, token_access_command;
extern const struct command acl_ls_command, acl_add_command, acl_rm_command, acl_test_command; /* acl.c */
extern const struct command blob_put_command, blob_get_command, blob_ls_command, blob_show_command; /* blob.c */
extern const struct command blob_pin_command, blob_unpin_command, blob_rm_command, blob_gc_command, blob_scrub_command;
extern const struct command backup_command, restore_command;                             /* backup.c */
extern const struct command bench_blob_command;                                          /* bench_blob.c */
extern const struct command bench_publish_command;                                       /* bench_publish.c */
extern const struct command context_ls_command, context_show_command, context_use_command, context_add_command,
	context_rm_command;                                                                /* contexts.c */
extern const struct command doctor_command;                                              /* doctor.c */
