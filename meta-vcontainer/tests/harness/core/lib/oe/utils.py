"""oe.utils"""


def execute_pre_post_process(d, cmds):
    import bb

    for cmd in (cmds or "").replace(";", " ").split():
        bb.build.exec_func(cmd, d)
